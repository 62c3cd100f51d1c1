"""Pulumi's engine: where its programs are, and how this project calls the CLI.

The Automation API is not used: docs/decisions.md says why.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ops.errors import EngineFailed, EngineMissing
from single_node.programs import engine as module_engine

ROOT = Path(__file__).resolve().parent.parent
PROJECT = "ray-on-kubernetes"
# The project's own installation of Pulumi (ops/pulumi.py).
OWN_INSTALLATION = ROOT / ".pulumi"
# The last one runs dynamic providers (the CRDs, the cluster's identity). It is part of the language host.
PLUGINS = ("pulumi-language-python", "pulumi-resource-kubernetes", "pulumi-resource-pulumi-python")


def find_cli() -> Path:
    """The project's own Pulumi CLI, which `make pulumi` installs; otherwise that on PATH; otherwise the one that the
    demo has built from Go modules.

    Raises:
        EngineMissing: There is no CLI.
    """
    own = OWN_INSTALLATION / "bin" / "pulumi"
    if own.is_file():
        return own
    on_path = shutil.which("pulumi", path=_search_path())
    if on_path:
        return Path(on_path)
    raise EngineMissing(
        "the Pulumi CLI is not on PATH: `make pulumi` installs it here, or see https://www.pulumi.com/docs/install/"
    )


def find_engine() -> Path:
    """The Pulumi CLI, after a check that its language host and providers are installed.

    Raises:
        EngineMissing: One of them is not; the message names it.
    """
    cli = find_cli()
    for plugin in PLUGINS:
        beside = cli.parent / plugin
        kind, name = plugin.removeprefix("pulumi-").split("-", 1)
        if not (shutil.which(plugin, path=_search_path()) or beside.is_file() or _plugins(f"{kind}-{name}")):
            raise EngineMissing(f"{plugin} is neither on PATH nor among Pulumi's plugins (`pulumi plugin install`)")
    return cli


def version() -> str:
    """The version of the Pulumi CLI."""
    return _capture(["version"], cwd=ROOT, environment={}).strip()


def provider_version() -> str:
    """The version of the Kubernetes provider on PATH, otherwise the newest among Pulumi's plugins; else "unknown"."""
    import grpc
    from google.protobuf import empty_pb2
    from pulumi.runtime.proto import provider_pb2_grpc

    program = shutil.which("pulumi-resource-kubernetes", path=_search_path())
    if program is None:
        installed = [folder.name.rpartition("-v")[2] for folder in _plugins("resource-kubernetes")]
        return max(installed, key=_version_parts, default="unknown")
    process = subprocess.Popen([program, "127.0.0.1:1"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        with grpc.insecure_channel(f"127.0.0.1:{process.stdout.readline().strip()}") as channel:
            stub = provider_pb2_grpc.ResourceProviderStub(channel)
            return str(stub.GetPluginInfo(empty_pb2.Empty(), timeout=20).version)
    finally:
        process.kill()
        process.wait()


def _plugins(name: str) -> list[Path]:
    """The folders of the installed versions of a plugin, such as `resource-kubernetes`."""
    home = Path(os.environ.get("PULUMI_HOME", Path.home() / ".pulumi"))
    return [folder for folder in home.glob(f"plugins/{name}-v*") if folder.is_dir()]


def _version_parts(version: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", version)]


def init_stack(name: str, environment: Mapping[str, str] | None = None) -> None:
    """Creates an empty stack on the backend. The repository's stack files are neither read nor written.

    `pulumi stack init` writes encryption settings to `Pulumi.<name>.yaml` beside the project file. So it runs beside a
    copy: the stacks that are created here (demo, render, tests) have their stack files in other folders.

    Raises:
        EngineFailed: The backend refuses.
    """
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(ROOT / "Pulumi.yaml", folder)
        _capture(["stack", "init", name, "--no-select"], cwd=Path(folder), environment=environment or {})


def run(
    arguments: Sequence[str], *, stack: str | None, cwd: Path = ROOT, environment: Mapping[str, str] | None = None
) -> int:
    """Runs the CLI, which prints as it works and asks no questions; returns its exit code."""
    command = [str(find_cli()), *arguments, *(["--stack", stack] if stack else []), "--non-interactive"]
    return subprocess.run(
        command, cwd=cwd, env=_environment(environment), stdin=subprocess.DEVNULL, check=False
    ).returncode


def run_quietly(arguments: Sequence[str], *, cwd: Path, environment: Mapping[str, str]) -> None:
    """Runs the CLI and prints nothing.

    Raises:
        EngineFailed: The CLI ended with an error; the message has its output.
    """
    done = subprocess.run(
        [str(find_cli()), *arguments, "--non-interactive", "--color", "never"],
        cwd=cwd,
        env=_environment(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise EngineFailed(f"pulumi {arguments[0]}", done.returncode, done.stdout)


def stack_outputs(
    stack: str | None, *, cwd: Path = ROOT, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The stack's outputs; secret values stay masked.

    Raises:
        EngineFailed: There is no such stack, or the backend does not answer.
    """
    chosen = ["--stack", stack] if stack else []
    outputs: dict[str, Any] = json.loads(
        _capture(["stack", "output", "--json", *chosen], cwd=cwd, environment=environment or {})
    )
    return outputs


def stacks(*, environment: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """The stacks of this project on the backend in use.

    Raises:
        EngineFailed: The backend does not answer.
    """
    listed: list[dict[str, Any]] = json.loads(
        _capture(["stack", "ls", "--json"], cwd=ROOT, environment=environment or {})
    )
    return listed


def deployment(stack: str, *, cwd: Path = ROOT, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The stack's exported state, with its secrets encrypted; empty before the first `up`.

    Raises:
        EngineFailed: There is no such stack, or the backend does not answer.
    """
    exported = json.loads(_capture(["stack", "export", "--stack", stack], cwd=cwd, environment=environment or {}))
    state: dict[str, Any] = exported.get("deployment") or {}
    return state


def stack_state(stack: str, *, cwd: Path = ROOT, environment: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Every resource in the stack's state.

    Raises:
        EngineFailed: There is no such stack, or the backend does not answer.
    """
    resources: list[dict[str, Any]] = deployment(stack, cwd=cwd, environment=environment).get("resources") or []
    return resources


def _capture(arguments: Sequence[str], *, cwd: Path, environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        [str(find_cli()), *arguments, "--non-interactive"],
        cwd=cwd,
        env=_environment(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise EngineFailed(f"pulumi {' '.join(arguments)}", done.returncode, done.stderr)
    return done.stdout


def _environment(extra: Mapping[str, str] | None) -> dict[str, str]:
    # RAY_PULUMI_PYTHON is for the engine that is built from Go modules; the official one does not read it.
    own = {"PULUMI_SKIP_UPDATE_CHECK": "true", "RAY_PULUMI_PYTHON": sys.executable, "PATH": _search_path()}
    return {**os.environ, **own, **(extra or {})}


def _search_path() -> str:
    """PATH of the CLI's processes: the project's own installation first, the built engine last."""
    folders = [os.environ.get("PATH", "")]
    if OWN_INSTALLATION.is_dir():
        folders.insert(0, str(OWN_INSTALLATION / "bin"))
    if module_engine.is_built():
        folders.append(str(module_engine.engine_dir()))
    return os.pathsep.join(folders)
