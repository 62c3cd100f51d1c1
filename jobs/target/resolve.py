"""Where jobs go, and as whom: from flags, environment, a Pulumi project or a file to one target."""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import DeadlinePassed, LocalFault, Refused
from . import contract as contracts
from .contract import Cluster, Contract

PROJECT = "ray-on-kubernetes"
PULUMI_SECONDS = 60.0
# The stock client lets these redirect a job; here a target is only ever chosen by a flag, an outputs file or a stack.
IGNORED_ENV = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")


@dataclass(frozen=True)
class Options:
    """What a person may say about the target; all optional."""

    address: str | None = None
    outputs: str | None = None
    stack: str | None = None
    cluster: str | None = None
    context: str | None = None
    kubeconfig: str | None = None
    token_file: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    verify: bool | str = True
    local: bool = False
    allow_unauthenticated: bool = False
    port: int = 0
    ledger: str | None = None


@dataclass(frozen=True)
class UrlTarget:
    """A Jobs API at a URL. `token_file` is read at use; else RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH."""

    url: str
    token_file: str | None
    headers: Mapping[str, str]
    verify: bool | str

    @property
    def name(self) -> str:
        return self.url


@dataclass(frozen=True)
class ClusterTarget:
    """A RayCluster that is reached by a tunnel through the Kubernetes API."""

    contract: Contract
    cluster: Cluster
    kubeconfig: str | None
    context: str | None
    headers: Mapping[str, str]
    port: int = 0

    @property
    def name(self) -> str:
        return f"{self.cluster.namespace}/{self.cluster.name}"


@dataclass(frozen=True)
class LocalTarget:
    """A Ray of the project's own on this machine."""

    headers: Mapping[str, str]

    @property
    def name(self) -> str:
        return "the local Ray"


Target = UrlTarget | ClusterTarget | LocalTarget


def resolve(
    options: Options,
    *,
    environ: Mapping[str, str] = os.environ,
    cwd: Path | None = None,
    note: Callable[[str], None] = lambda _text: None,
) -> Target:
    """The one target. Order: --local, --address, --outputs, $RAYJOBS_OUTPUTS, --stack or the Pulumi project that the
    working directory is in, the default outputs file. Raises Refused, saying what was looked for."""
    _check_together(options)
    for name in IGNORED_ENV:
        if environ.get(name) and environ[name] != options.address:
            note(f"{name} is set and is ignored: give --address to submit to it.")
            break
    headers = _headers(options, environ)
    if options.local:
        return LocalTarget(headers)
    if options.address is not None:
        return _url_target(options, headers, environ)
    contract = read_contract(options, environ=environ, cwd=cwd or Path.cwd(), note=note)
    return ClusterTarget(
        contract=contract,
        cluster=contract.cluster(options.cluster),
        kubeconfig=options.kubeconfig or contract.kubeconfig,
        context=options.context or contract.kube_context,
        headers=headers,
        port=options.port,
    )


def read_contract(options: Options, *, environ: Mapping[str, str], cwd: Path, note: Callable[[str], None]) -> Contract:
    """The outputs contract by the order of `resolve`."""
    if options.outputs is not None:
        return _from_file(Path(options.outputs), "--outputs")
    if options.stack is None and environ.get("RAYJOBS_OUTPUTS"):
        return _from_file(Path(environ["RAYJOBS_OUTPUTS"]), "RAYJOBS_OUTPUTS")
    default = default_outputs(environ)
    project = find_project(cwd)
    if project is None and options.stack is not None:
        raise Refused(
            f"--stack {options.stack}: {cwd} is not inside the Pulumi project {PROJECT}.",
            "Run it there, or name an outputs file with --outputs (`make outputs` writes one).",
        )
    if project is not None:
        pulumi = find_pulumi(project, environ)
        if pulumi is not None:
            return _from_pulumi(pulumi, project, options.stack, environ)
        if options.stack is not None or not default.is_file():
            raise LocalFault(
                f"The outputs of a stack in {project} are read with the Pulumi CLI, and there is no `pulumi` on PATH.",
                "Install it, or name an outputs file with --outputs, or an address with --address.",
            )
        note(f"No `pulumi` on PATH: using {default}.")
    if default.is_file():
        return _from_file(default, "the default outputs file")
    raise Refused(
        "No target: none of --address, --outputs, RAYJOBS_OUTPUTS or --stack is given, the working directory is not in "
        f"the Pulumi project {PROJECT}, and there is no {default}.",
        "`make outputs` in the project writes that file; --local runs on a Ray on this machine.",
    )


def default_outputs(environ: Mapping[str, str]) -> Path:
    home = environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    return Path(home) / "rayjobs" / "outputs.json"


def find_project(cwd: Path) -> Path | None:
    """The directory of the project's Pulumi.yaml, from `cwd` upwards."""
    for directory in (cwd, *cwd.parents):
        try:
            text = (directory / "Pulumi.yaml").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        return directory if f"\nname: {PROJECT}\n" in f"\n{text}\n" else None
    return None


def find_pulumi(project: Path, environ: Mapping[str, str]) -> str | None:
    """The Pulumi CLI: on PATH, or where `make demo` puts it in the project."""
    own = project / ".pulumi" / "bin" / "pulumi"
    return shutil.which("pulumi", path=environ.get("PATH")) or (str(own) if os.access(own, os.X_OK) else None)


def _from_file(path: Path, what: str) -> Contract:
    try:
        text = path.expanduser().read_text(encoding="utf-8")
    except FileNotFoundError:
        raise Refused(f"{what}: there is no file {path}.", "`make outputs` in the project writes one.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{what}: {path} cannot be read: {error}") from error
    return contracts.parse(text, str(path))


def _from_pulumi(pulumi: str, project: Path, stack: str | None, environ: Mapping[str, str]) -> Contract:
    command = [pulumi, "stack", "output", "contract", "--json", "--non-interactive"]
    if stack is not None:
        command += ["--stack", stack]  # Names the stack for this command alone; the selection stays.
    shown = f"`pulumi stack output contract{f' --stack {stack}' if stack else ''}` in {project}"
    try:
        done = subprocess.run(
            command,
            cwd=project,
            env={**environ, "PULUMI_SKIP_UPDATE_CHECK": "true"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PULUMI_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DeadlinePassed(f"{shown} did not answer within {PULUMI_SECONDS:.0f} s.") from None
    except OSError as error:
        raise LocalFault(f"{shown} cannot be run: {error}") from error
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise Refused(
            f"{shown} failed: {lines[-1] if lines else 'no message'}",
            "Has the stack been brought up? `pulumi stack ls` lists the stacks; --stack NAME chooses one.",
        )
    return contracts.parse(done.stdout.decode(errors="replace"), f"the stack {stack or '(selected)'} of {project}")


def _check_together(options: Options) -> None:
    chosen = [
        name
        for name, value in (
            ("--local", options.local),
            ("--address", options.address),
            ("--outputs", options.outputs),
            ("--stack", options.stack),
        )
        if value
    ]
    if len(chosen) > 1:
        raise Refused(f"{' and '.join(chosen)} name different targets.", "Give one of them.")
    if options.address is not None or options.local:
        for name, value in (
            ("--cluster", options.cluster),
            ("--context", options.context),
            ("--kubeconfig", options.kubeconfig),
        ):
            if value:
                raise Refused(f"{name} has no meaning with {chosen[0]}.", "Leave one of them out.")
    elif options.token_file:
        raise Refused("--token-file has no meaning without --address.", "The token is read from the cluster's Secret.")


def _headers(options: Options, environ: Mapping[str, str]) -> Mapping[str, str]:
    if options.headers:
        return options.headers
    return parse_headers(environ.get("RAY_JOB_HEADERS"), "RAY_JOB_HEADERS")


def parse_headers(text: str | None, what: str) -> dict[str, str]:
    """`{"name": "value"}` as JSON. The text may hold a secret: errors do not repeat it."""
    if not text:
        return {}
    try:
        found = json.loads(text)
    except ValueError:
        raise Refused(f"{what} is not JSON.", 'Write it like \'{"name": "value"}\'.') from None
    if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
        raise Refused(f"{what} must map names to strings.", 'Write it like \'{"name": "value"}\'.')
    return found


def is_loopback(host: str | None) -> bool:
    if host is None:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _url_target(options: Options, headers: Mapping[str, str], environ: Mapping[str, str]) -> UrlTarget:
    given = options.address or ""
    url = given if "://" in given else f"http://{given}"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise Refused(f"--address {given!r}: {error}", "Write it like http://host:8265.") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Refused(
            f"--address {given!r} is not an http or https URL.",
            "The Jobs API is at the dashboard's address, e.g. http://127.0.0.1:8265; ray:// is another protocol.",
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise Refused("--address must be a plain URL, without user, password or query.", "See --token-file, --headers.")
    has_token = bool(options.token_file or environ.get("RAY_AUTH_TOKEN") or environ.get("RAY_AUTH_TOKEN_PATH"))
    has_header = any(name.lower() in ("authorization", "x-ray-authorization", "cookie") for name in headers)
    if not is_loopback(parts.hostname) and not has_token and not has_header and not options.allow_unauthenticated:
        raise Refused(
            f"{parts.hostname} is not this machine, and there is no token: anyone who can reach it can run code on it.",
            "Set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH or give --token-file, or say --allow-unauthenticated.",
        )
    return UrlTarget(url.rstrip("/"), options.token_file, headers, options.verify)


def read_token(target: UrlTarget, environ: Mapping[str, str] = os.environ) -> str | None:
    """The token for a URL: --token-file, RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH. Raises Refused; never shows it."""
    path = target.token_file
    if path is None and environ.get("RAY_AUTH_TOKEN"):
        return checked_token(environ["RAY_AUTH_TOKEN"], "RAY_AUTH_TOKEN")
    path = path or environ.get("RAY_AUTH_TOKEN_PATH")
    if not path:
        return None
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"The token file {path} cannot be read: {type(error).__name__}.", "Check its path.") from error
    return checked_token(text, f"the token file {path}")


def checked_token(text: str, what: str) -> str:
    token = text.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise Refused(f"{what} holds no usable token (empty, or with characters that no header can carry).")
    return token
