"""Chooses one target from options, environment and files."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from ..errors import LocalFault, Refused, command
from . import contract as contracts
from .contract import Cluster, Contract
from .options import TargetOptions, parse_headers
from .pulumi_project import PROJECT, find_project, find_pulumi, read_contract_output
from .token import has_token

# The stock client lets these redirect a job. Here only an option, an outputs file or a stack chooses the target.
IGNORED_ENV = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")
_NAME_OUTPUTS = "name an outputs file with --outputs (`make outputs` writes one)"


@dataclass(frozen=True)
class KeeperUrl:
    """The keeper that --keeper names. `token_file` is that of --token-file, `verify` as in TargetOptions."""

    url: str
    token_file: str | None = None
    verify: bool | str = True


@dataclass(frozen=True)
class UrlTarget:
    """A Jobs API at a URL. The token is read at use: `token_file`, RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH."""

    url: str
    token_file: str | None
    headers: Mapping[str, str]
    verify: bool | str
    keeper: KeeperUrl | None = None
    """The cluster's keeper; None: none is known."""

    @property
    def name(self) -> str:
        return self.url

    @property
    def identity(self) -> str | None:
        """The name of the cluster in the ledger."""
        return self.url


@dataclass(frozen=True)
class ClusterTarget:
    """A RayCluster that is reached by a tunnel through the Kubernetes API, or directly by a pod of the cluster."""

    contract: Contract
    cluster: Cluster
    kubeconfig: str | None
    context: str | None
    headers: Mapping[str, str]
    port: int = 0
    outputs_file: Path | None = None
    """The outputs file that names `kubeconfig`; None: an option or the user's own stack names it."""
    keeper: KeeperUrl | None = None
    """The cluster's keeper; None: the contract names its Service, or there is none."""
    in_cluster: bool = False
    """This process runs in the pod network: it connects to the head's Service and to the agents of nodes directly."""

    @property
    def name(self) -> str:
        return f"{self.cluster.namespace}/{self.cluster.name}"

    @property
    def identity(self) -> str | None:
        """The name of the cluster in the ledger."""
        return f"{self.contract.cluster_uid or self.context}/{self.name}"


@dataclass(frozen=True)
class LocalTarget:
    """A Ray on this machine, which is started on first use."""

    headers: Mapping[str, str]
    keeper: KeeperUrl | None = None
    """Its keeper; None: it has none."""

    @property
    def name(self) -> str:
        return "the local Ray"

    @property
    def identity(self) -> str | None:
        """None: a local Ray has a URL only while it runs."""
        return None


Target = UrlTarget | ClusterTarget | LocalTarget


def is_in_cluster(target: Target) -> bool:
    """Returns whether this process is a pod that connects to the target directly."""
    return isinstance(target, ClusterTarget) and target.in_cluster


def resolve(
    options: TargetOptions,
    *,
    environ: Mapping[str, str] = os.environ,
    cwd: Path | None = None,
    notify: Callable[[str], None] = lambda _text: None,
    is_keeper_enough: bool = False,
) -> Target:
    """Returns the target, from the first of these: --local, --address, --outputs, --stack, RAYJOBS_OUTPUTS, the Pulumi
    project around the working directory, the default outputs file.

    Args:
        options: The user's options.
        environ: The environment.
        cwd: The working directory; the process' own by default.
        notify: Called with messages for a person.
        is_keeper_enough: Only the keeper is asked. So --keeper alone is a target, if there is no other one.

    Raises:
        Refused: Options contradict each other, or name nothing that can be used, or there is no target.
        LocalFault: The Pulumi CLI is missing.
        DeadlinePassed: The Pulumi CLI did not answer.
    """
    options.check()
    for name in IGNORED_ENV:
        if environ.get(name) and environ[name] != options.address:
            notify(f"{name} is set and is ignored: use --address to submit to it.")
            break
    headers = options.headers or parse_headers(environ.get("RAY_JOB_HEADERS"), "RAY_JOB_HEADERS")
    keeper = None if options.keeper is None else _keeper_url(options, options.keeper, notify)
    if options.local:
        return LocalTarget(headers, keeper)
    if options.address is not None:
        return _url_target(options, options.address, headers, keeper, environ, notify)
    if keeper is not None and is_keeper_enough and not _needs_contract(options, environ, cwd or Path.cwd()):
        return UrlTarget(keeper.url, options.token_file, headers, options.verify, keeper)
    contract, outputs_file = read_contract(options, environ, cwd or Path.cwd(), notify)
    return ClusterTarget(
        contract=contract,
        cluster=contract.cluster(options.cluster),
        kubeconfig=options.kubeconfig or contract.kubeconfig,
        context=options.context or contract.kube_context,
        # A tunnel leads to Ray itself: an Authorization for a proxy would take the place of Ray's token.
        headers={name: value for name, value in headers.items() if name.lower() != "authorization"},
        port=options.port,
        outputs_file=outputs_file if contract.kubeconfig and not options.kubeconfig else None,
        keeper=keeper,
    )


def _needs_contract(options: TargetOptions, environ: Mapping[str, str], cwd: Path) -> bool:
    """Returns whether the token of a keeper is that of a stack's cluster: a source of `read_contract` is named, or one
    is there and no file with a token is named."""
    if options.outputs or options.stack or options.cluster:
        return True
    if options.token_file:
        return False
    return bool(environ.get("RAYJOBS_OUTPUTS") or find_project(cwd) or default_outputs(environ).is_file())


def _url_target(
    options: TargetOptions,
    address: str,
    headers: Mapping[str, str],
    keeper: KeeperUrl | None,
    environ: Mapping[str, str],
    notify: Callable[[str], None],
) -> UrlTarget:
    url, parts = _plain_url(
        address,
        "--address",
        "Use the dashboard's address, such as http://127.0.0.1:8265; ray:// is another protocol.",
        "Use --token-file or --headers.",
    )
    remote = not is_loopback(parts.hostname)
    authenticated = has_token(options.token_file, headers, environ)
    if authenticated:
        _warn_of_http(parts, notify)
    if remote and not authenticated and not options.allow_unauthenticated:
        raise Refused(
            f"{parts.hostname} is not this machine, and there is no token: anyone who can reach it can run code on it.",
            "Set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH, use --token-file, or accept it with --allow-unauthenticated.",
        )
    return UrlTarget(url, options.token_file, headers, options.verify, keeper)


def _keeper_url(options: TargetOptions, keeper: str, notify: Callable[[str], None]) -> KeeperUrl:
    url, parts = _plain_url(
        keeper,
        "--keeper",
        "Use the address at which `keep` listens, such as http://127.0.0.1:8270.",
        "The cluster's token is sent to it.",
    )
    _warn_of_http(parts, notify)
    return KeeperUrl(url, options.token_file, options.verify)


def _plain_url(text: str, option: str, example: str, login: str) -> tuple[str, SplitResult]:
    """Returns an http or https URL without a login, and its parts. Raises Refused, with `example` or `login`."""
    url = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise Refused(f"{option} {text!r}: {error}", example) from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Refused(f"{option} {text!r} is not an http or https URL.", example)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise Refused(f"{option} must be a plain URL, without user, password or query.", login)
    return url.rstrip("/"), parts


def _warn_of_http(parts: SplitResult, notify: Callable[[str], None]) -> None:
    """Says that a token goes to another machine unencrypted."""
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        notify(
            f"The token is sent to {parts.hostname} over http, unencrypted: others in the network can read it. "
            "Use https if the server has it."
        )


def read_contract(
    options: TargetOptions,
    environ: Mapping[str, str],
    cwd: Path,
    notify: Callable[[str], None] = lambda _text: None,
    *,
    use_default: bool = True,
) -> tuple[Contract, Path | None]:
    """Reads the outputs contract, in the order of `resolve`. Returns it with its outputs file, if it is from one.

    Without `use_default` the default outputs file is no source. Raises as `resolve`.
    """
    if options.outputs is not None:
        return _read_outputs_file(Path(options.outputs), "--outputs")
    if options.stack is None and environ.get("RAYJOBS_OUTPUTS"):
        return _read_outputs_file(Path(environ["RAYJOBS_OUTPUTS"]), "RAYJOBS_OUTPUTS")
    default = default_outputs(environ)
    project = find_project(cwd)
    if project is None and options.stack is not None:
        raise Refused(
            f"--stack {options.stack}: {cwd} is not inside the Pulumi project {PROJECT}.",
            f"Run the command there, or {_NAME_OUTPUTS}.",
        )
    if project is not None:
        pulumi = find_pulumi(project, environ)
        if pulumi is not None:
            output = read_contract_output(pulumi, project, options.stack, environ)
            return contracts.parse(output, f"the stack {options.stack or '(selected)'} of {project}"), None
        if options.stack is not None or not use_default or not default.is_file():
            raise LocalFault(
                f"The outputs of the stacks in {project} are read with the Pulumi CLI, but `pulumi` is not on PATH.",
                f"Install it, or {_NAME_OUTPUTS}, or name an address with --address.",
            )
        notify(f"`pulumi` is not on PATH: using {default}.")
    if use_default and default.is_file():
        return _read_outputs_file(default, "the default outputs file")
    if not use_default:
        raise Refused(
            f"No stack: there is no --outputs or --stack, and {cwd} is not inside the Pulumi project {PROJECT}.",
            f"Run the command there, or {_NAME_OUTPUTS}.",
        )
    raise Refused(
        "No target: there is no --address, --outputs, RAYJOBS_OUTPUTS or --stack, the working directory is not inside "
        f"the Pulumi project {PROJECT}, and {default} does not exist.",
        f"{command('init --outputs FILE')} writes that file from one of `make outputs`; --local uses a Ray on this "
        "machine.",
    )


def default_outputs(environ: Mapping[str, str]) -> Path:
    """Returns the outputs file of this user."""
    base = environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    return Path(base) / "rayjobs" / "outputs.json"


def _read_outputs_file(path: Path, source: str) -> tuple[Contract, Path]:
    path = path.expanduser()
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise Refused(f"{source}: there is no file {path}.", "`make outputs` in the project writes one.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{source}: could not read {path}: {error}") from error
    return contracts.parse(text, str(path)), path


def is_loopback(host: str | None) -> bool:
    """Returns whether the host is this machine."""
    if host is None:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
