"""Builds programs from Go modules, each once, into the cache.

The Go module proxy is what a locked-down machine can usually reach, also where images and releases are not. A build is
atomic (a partial file is renamed at the end), and one that was killed continues with what Go's own cache has.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from ..cache import held_locks, locked, write_atomically
from ..errors import NotPossible, SingleNodeError
from ..progress import step

# The most that Kubernetes, CoreDNS and the operators ask for in their go.mod.
OLDEST_GO = "1.24.2"
# The oldest Go that fetches a newer one by itself, as a module.
FETCHES_NEWER_GO = "1.21.0"
# What a compiler of the largest module needs.
DISK_BYTES = 6 * 1024**3
# A build that failed with less than this probably failed because of it.
LITTLE_DISK_BYTES = 256 * 1024**2


def go_problem(oldest: str = OLDEST_GO) -> str | None:
    """Returns why this machine cannot build Go modules that need at least the Go `oldest`; None: it can."""
    go = shutil.which("go")
    if go is None:
        return f"the command `go` is missing ({oldest} or newer, from https://go.dev/dl or your distribution)"
    done = subprocess.run([go, "env", "GOVERSION", "GOTOOLCHAIN"], capture_output=True, text=True, check=False)
    # An older Go that knows no GOTOOLCHAIN answers an empty line.
    answer, _, toolchain = done.stdout.strip().partition("\n")
    version = _numbers(answer.removeprefix("go"))
    if version is None:
        return f"`go env GOVERSION` answers {answer or done.stderr.strip()!r}"
    if version >= (_numbers(oldest) or ()):
        return None
    too_old = f"Go is {answer.removeprefix('go')}, and {oldest} or newer is needed"
    if version < (_numbers(FETCHES_NEWER_GO) or ()):
        return too_old
    # Distributions and images of Go often set `local`.
    if "auto" not in toolchain and "path" not in toolchain:
        return f"{too_old}; GOTOOLCHAIN={toolchain} keeps it from fetching one (export GOTOOLCHAIN=auto)"
    return None


def _numbers(version: str) -> tuple[int, ...] | None:
    match = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", version)
    return tuple(int(number or 0) for number in match.groups()) if match else None


def build_program(
    target: Path,
    package: str,
    *,
    requires: Mapping[str, str],
    usually: str,
    oldest_go: str = OLDEST_GO,
    flags: str = "",
    replaces: Mapping[str, str] | None = None,
    files: Mapping[str, bytes] | None = None,
) -> Path:
    """Builds a program unless it is there, and returns its path.

    Args:
        target: the program.
        package: import path of its main package; `.`: that of `files`.
        requires: version by module.
        usually: how long it takes on two cores, for a person.
        oldest_go: the Go that the modules ask for. `go build` fetches a newer Go for its own go.mod only, not for a
            module that it requires.
        flags: more linker flags, such as `-X path.Version=v1`.
        replaces: version by module that stands in the place of what `requires` asks for.
        files: content by name of the main package in this project.

    Raises:
        NotPossible: there is no Go.
        SingleNodeError: a module cannot be fetched or compiled.
    """
    work = target.parent / "build" / target.name
    with locked(target.parent / f".{target.name}.lock"):
        if target.exists():
            return target
        if problem := go_problem(oldest_go):
            raise NotPossible(f"{target.name} is built from Go modules, and {problem}.")
        _check_disk(target, DISK_BYTES)
        work.mkdir(parents=True, exist_ok=True)
        write_atomically(work / "go.mod", _go_mod(requires, replaces or {}, oldest_go))
        for name, content in (files or {}).items():
            (work / name).write_bytes(content)
        partial = target.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        version = next(iter(requires.values()), "")
        with step(f"building {target.name} {version}".rstrip(), usually):
            try:
                go(["build", "-p", "2", "-trimpath", "-ldflags", f"-s -w {flags}", "-o", str(partial), package], work)
            except SingleNodeError:
                partial.unlink(missing_ok=True)
                _check_disk(target, LITTLE_DISK_BYTES)  # Go's own message about a full disk is hard to find
                raise
        partial.rename(target)
    return target


def module_folder(module: str, version: str, work: Path) -> Path:
    """Downloads a module and returns the folder with its files.

    Raises:
        NotPossible: there is no Go.
        SingleNodeError: the module proxy does not have it, or refuses it.
    """
    return Path(_downloaded(module, version, work)["Dir"])


def module_go_mod(module: str, version: str, work: Path) -> str:
    """Returns the go.mod of a module. Raises as `module_folder`."""
    return Path(_downloaded(module, version, work)["GoMod"]).read_text()


def _downloaded(module: str, version: str, work: Path) -> dict[str, str]:
    if problem := go_problem():
        raise NotPossible(f"{module} is fetched with Go, and {problem}.")
    work.mkdir(parents=True, exist_ok=True)
    if not (work / "go.mod").exists():
        write_atomically(work / "go.mod", _go_mod({}, {}))
    answer: dict[str, str] = json.loads(go(["mod", "download", "-json", f"{module}@{version}"], work, capture=True))
    return answer


def _go_mod(requires: Mapping[str, str], replaces: Mapping[str, str], oldest_go: str = OLDEST_GO) -> str:
    lines = [f"require {name} {version}" for name, version in requires.items()]
    lines += [f"replace {name} => {name} {version}" for name, version in replaces.items()]
    return "\n".join(["module build", "", f"go {oldest_go}", "", *lines, ""])


def _check_disk(target: Path, least: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(target.parent).free
    if free < least:
        raise NotPossible(
            f"{target.name}: the disk of {target.parent} has {free / 1024**3:.1f} GB free, and a build needs "
            f"{DISK_BYTES / 1024**3:.0f} GB. Free some, or set RAY_E2E_CACHE to another disk."
        )


def go(arguments: list[str], work: Path, capture: bool = False) -> str:
    """Runs the `go` command with low priority and returns its stdout, if asked for.

    Raises:
        SingleNodeError: it failed; its message stands above.
    """
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod -buildvcs=false", "GOWORK": "off"}
    done = subprocess.run(
        ["nice", "-n", "10", shutil.which("go") or "go", *arguments],
        cwd=work,
        env=environment,
        text=True,
        stdout=subprocess.PIPE if capture else None,
        stdin=subprocess.DEVNULL,
        pass_fds=held_locks(),
        check=False,
    )
    if done.returncode != 0:
        reason = json_error(done.stdout) if capture else ""
        raise SingleNodeError(
            f"`go {arguments[0]}` failed in {work} (exit code {done.returncode}){f': {reason}' if reason else ''}. Its "
            "message is above. Which proxy it asks: `go env GOPROXY`."
        )
    return done.stdout or ""


def json_error(output: str | None) -> str:
    """Returns the error in the JSON of `go mod download`; empty: there is none."""
    try:
        return str(json.loads(output or "{}").get("Error", ""))
    except ValueError:
        return ""
