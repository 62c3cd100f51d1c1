"""Reads the kubeconfig by kubectl's rules: files, contexts, current context. Sends no request to a cluster."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import Refused, did_you_mean
from ..private_file import other_writer
from ..yaml_file import NotYaml, read_yaml

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class KubeconfigRefused(Refused):
    """There is no usable kubeconfig, or it does not have the context."""


@dataclass(frozen=True)
class Kubeconfig:
    """The kubeconfig files that exist, read together.

    Attributes:
        files: the files, in the order in which kubectl reads them.
        contexts: names of all contexts.
        current_context: current context of the first file that has one; empty: none has one.
        programs: programs that users in these files run to log in, such as `aws`.
        contents: the files' contents, in the same order.
    """

    files: tuple[Path, ...]
    contexts: tuple[str, ...]
    current_context: str
    programs: tuple[str, ...] = ()
    contents: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)

    @property
    def path(self) -> str:
        """All files as one value of `KUBECONFIG`."""
        return os.pathsep.join(map(str, self.files))

    def entry(self, kind: str, name: str) -> tuple[Path, Mapping[str, Any]]:
        """Returns an entry and the file that has it. The first file that has the entry wins, as for kubectl.

        Args:
            kind: `contexts`, `clusters` or `users`.
            name: name of the entry.

        Raises:
            KubeconfigRefused: no file has it.
        """
        for file, content in zip(self.files, self.contents, strict=True):
            entries = content.get(kind)
            for each in entries if isinstance(entries, list) else []:
                value = each.get(kind[:-1]) if isinstance(each, Mapping) and each.get("name") == name else None
                if isinstance(value, Mapping):
                    return file, value
        raise KubeconfigRefused(
            f"The kubeconfig {', '.join(map(str, self.files))} has no {kind[:-1]} {name or '(no name)'}, which its "
            "context names.",
            "Correct it, or use another context.",
        )

    def choose(self, context: str | None, *, option: str) -> str:
        """Returns `context`, or else the current context.

        Args:
            context: name of a context; None or empty: the current one.
            option: the flag or setting that names a context, for the error.

        Raises:
            KubeconfigRefused: there is no such context, or no current one.
        """
        name = context or self.current_context
        if name not in self.contexts:
            problem = f"no context {name}" if name else "no current context"
            names = ", ".join(sorted(self.contexts)) or "(it has no contexts)"
            raise KubeconfigRefused(
                f"The kubeconfig {', '.join(map(str, self.files))} has {problem}.",
                f"{did_you_mean(name, self.contexts)}Set {option} to one of: {names}.",
            )
        return name


def kubeconfig_files(kubeconfig: str | None, environ: Mapping[str, str] = os.environ) -> list[Path]:
    """Returns the files to read: `kubeconfig`, else those in `KUBECONFIG`, else `~/.kube/config`. They need not
    exist."""
    value = kubeconfig or environ.get("KUBECONFIG") or "~/.kube/config"
    return [Path(part).expanduser() for part in value.split(os.pathsep) if part]


def read_kubeconfig(
    kubeconfig: str | None, *, option: str, environ: Mapping[str, str] = os.environ
) -> Kubeconfig | None:
    """Reads the kubeconfig. Returns None in a pod with a ServiceAccount and without a kubeconfig.

    Args:
        kubeconfig: path of a file, or several as in `KUBECONFIG`; None or empty: the usual rules.
        option: the flag or setting that names the file, for the error.
        environ: the environment.

    Raises:
        KubeconfigRefused: there is no file, or one of them is not a kubeconfig.
    """
    paths = kubeconfig_files(kubeconfig, environ)
    files = tuple(path for path in paths if path.is_file())
    if not files:
        if not kubeconfig and "KUBERNETES_SERVICE_HOST" in environ and (SERVICE_ACCOUNT / "token").exists():
            return None
        raise KubeconfigRefused(
            f"There is no kubeconfig at {', '.join(map(str, paths))}.", f"Set {option} or KUBECONFIG to a kubeconfig."
        )
    contents = [_content(file) for file in files]
    contexts = [entry.get("name") for content in contents for entry in content["contexts"] if isinstance(entry, dict)]
    currents = (content.get("current-context") for content in contents)
    return Kubeconfig(
        files=files,
        contexts=tuple(dict.fromkeys(name for name in contexts if isinstance(name, str))),
        current_context=next((str(current) for current in currents if current), ""),
        contents=tuple(contents),
        programs=tuple(dict.fromkeys(program for content in contents for program in _programs(content))),
    )


def check_of_outputs(outputs_file: Path, kubeconfig: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Checks a kubeconfig that only an outputs file names: other people write such files.

    It is used if it is the user's own (`KUBECONFIG`, `~/.kube/config`), or if no one else on this machine can have
    written the two files and no program runs to log in. The user has to name any other one.

    Args:
        outputs_file: the file that names the kubeconfig.
        kubeconfig: the kubeconfig; several as in `KUBECONFIG`.
        environ: the environment.

    Returns:
        Whether it is the user's own.

    Raises:
        KubeconfigRefused: the user has to name it, or it cannot be used.
    """
    files = kubeconfig_files(kubeconfig, environ)
    own = [*kubeconfig_files(None, environ), Path("~/.kube/config").expanduser()]
    if {file.resolve() for file in files} <= {file.resolve() for file in own}:
        return True
    remedy = f"If you trust it, name it: --kubeconfig {shlex.quote(kubeconfig)}, or the same in KUBECONFIG."
    for file in (outputs_file, *files):
        if file.exists() and (problem := other_writer(file)):
            raise KubeconfigRefused(
                f"The kubeconfig {kubeconfig}, which {outputs_file} names, is not used: {problem}.", remedy
            )
    config = read_kubeconfig(kubeconfig, option="--kubeconfig", environ=environ)
    if config is not None and config.programs:
        raise KubeconfigRefused(
            f"The kubeconfig {kubeconfig}, which {outputs_file} names, is not used: it runs a program "
            f"({', '.join(config.programs)}) to log in, and an outputs file must not choose programs.",
            remedy,
        )
    return False


def _programs(content: Mapping[str, Any]) -> list[str]:
    """Returns the programs that logins of this file run."""
    programs = []
    users = content.get("users")
    for entry in users if isinstance(users, list) else []:
        user = entry.get("user") if isinstance(entry, dict) else None
        for key in ("exec", "auth-provider"):
            if isinstance(user, dict) and user.get(key):
                login = user[key] if isinstance(user[key], dict) else {}
                programs.append(str(login.get("command") or login.get("name") or key)[:100])
    return programs


def _content(file: Path) -> dict[str, Any]:
    try:
        content = read_yaml(file)
    except (OSError, UnicodeDecodeError) as error:
        raise KubeconfigRefused(f"The kubeconfig {file} cannot be read: {error}.") from error
    except NotYaml as error:
        # The parser's own message quotes the file, which holds credentials.
        raise KubeconfigRefused(f"The kubeconfig {file} {error}.", "Fix it, or use another file.") from None
    if not isinstance(content, dict) or not isinstance(content.get("contexts") or [], list):
        raise KubeconfigRefused(f"{file} is not a kubeconfig: it has no list of contexts.", "Use another file.")
    return {**content, "contexts": content.get("contexts") or []}
