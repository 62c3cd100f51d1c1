"""The Pulumi CLI as a program: where it is, and how this project calls it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PROJECT = "ray-on-kubernetes"
# Where the official installer puts the CLI when the demo calls it: inside the project, nowhere else.
OWN_INSTALLATION = ROOT / ".pulumi"
# The last one runs dynamic providers (the CRDs, the cluster's identity) and comes with the language host.
PLUGINS = ("pulumi-language-python", "pulumi-resource-kubernetes", "pulumi-resource-pulumi-python")


class EngineMissing(Exception):
    """A part of Pulumi's engine is not on this machine; the message names it."""


class EngineFailed(Exception):
    """The Pulumi CLI ended with an error; what it said was shown or is the message."""

    def __init__(self, command: str, code: int, said: str = "") -> None:
        super().__init__(f"`{command}` ended with {code}" + (f": {said.strip()}" if said.strip() else ""))
        self.code = code


def find_cli() -> Path:
    """The Pulumi CLI on PATH, else the project's own. Raises EngineMissing."""
    on_path = shutil.which("pulumi")
    own = OWN_INSTALLATION / "bin" / "pulumi"
    if on_path:
        return Path(on_path)
    if own.is_file():
        return own
    raise EngineMissing("the Pulumi CLI is not on PATH (https://www.pulumi.com/docs/install/)")


def find_engine() -> Path:
    """The CLI, with its Python language host and Kubernetes provider there too. Raises EngineMissing, naming one."""
    cli = find_cli()
    home = Path(os.environ.get("PULUMI_HOME", Path.home() / ".pulumi"))
    for plugin in PLUGINS:
        beside = cli.parent / plugin
        kind, name = plugin.removeprefix("pulumi-").split("-", 1)
        installed = home.glob(f"plugins/{kind}-{name}-v*")
        if not (shutil.which(plugin) or beside.is_file() or any(installed)):
            raise EngineMissing(f"{plugin} is neither on PATH nor among Pulumi's plugins (`pulumi plugin install`)")
    return cli


def version() -> str:
    return _capture(["version"], cwd=ROOT, environment={}).strip()


def provider_version() -> str:
    """The version that the Kubernetes provider on PATH says it has; "unknown" where it is only among the plugins."""
    import grpc
    from google.protobuf import empty_pb2
    from pulumi.runtime.proto import provider_pb2_grpc

    program = shutil.which("pulumi-resource-kubernetes")
    if program is None:
        return "unknown"
    process = subprocess.Popen([program, "127.0.0.1:1"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        with grpc.insecure_channel(f"127.0.0.1:{process.stdout.readline().strip()}") as channel:
            stub = provider_pb2_grpc.ResourceProviderStub(channel)
            return str(stub.GetPluginInfo(empty_pb2.Empty(), timeout=20).version)
    finally:
        process.kill()
        process.wait()


def init_stack(name: str, environment: Mapping[str, str] | None = None) -> None:
    """Makes an empty stack on the backend; no stack file of the repository is read or written. Raises EngineFailed.

    `stack init` writes the backend's encryption into `Pulumi.<name>.yaml` beside the project file, and the stacks made
    here (demo, render, tests) have a stack file of their own elsewhere.
    """
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(ROOT / "Pulumi.yaml", folder)
        _capture(["stack", "init", name, "--no-select"], cwd=Path(folder), environment=environment or {})


def run(
    arguments: Sequence[str], *, stack: str | None, cwd: Path = ROOT, environment: Mapping[str, str] | None = None
) -> int:
    """Runs the CLI with its output shown as it comes; returns its exit code. Never asks anything."""
    command = [str(find_cli()), *arguments, *(["--stack", stack] if stack else []), "--non-interactive"]
    return subprocess.run(
        command, cwd=cwd, env=_environment(environment), stdin=subprocess.DEVNULL, check=False
    ).returncode


def run_quietly(arguments: Sequence[str], *, cwd: Path, environment: Mapping[str, str]) -> None:
    """Runs the CLI and shows nothing. Raises EngineFailed with all that it said."""
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
    """The stack's outputs; secrets stay masked. Raises EngineFailed."""
    chosen = ["--stack", stack] if stack else []
    answer: dict[str, Any] = json.loads(
        _capture(["stack", "output", "--json", *chosen], cwd=cwd, environment=environment or {})
    )
    return answer


def stacks(*, environment: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """The stacks of this project on the backend in use. Raises EngineFailed."""
    listed: list[dict[str, Any]] = json.loads(
        _capture(["stack", "ls", "--json"], cwd=ROOT, environment=environment or {})
    )
    return listed


def deployment(stack: str, *, cwd: Path = ROOT, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The stack's state as exported (secrets encrypted); empty before the first `up`. Raises EngineFailed."""
    exported = json.loads(_capture(["stack", "export", "--stack", stack], cwd=cwd, environment=environment or {}))
    found: dict[str, Any] = exported.get("deployment") or {}
    return found


def stack_state(stack: str, *, cwd: Path = ROOT, environment: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Every resource in the stack's state. Raises EngineFailed."""
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
    environment = {**os.environ, "PULUMI_SKIP_UPDATE_CHECK": "true", **(extra or {})}
    if OWN_INSTALLATION.is_dir():
        environment["PATH"] = f"{OWN_INSTALLATION / 'bin'}{os.pathsep}{environment.get('PATH', '')}"
    return environment
