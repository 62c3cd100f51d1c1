"""A throw-away stack of this project on the real engine, with its own backend, passphrase and stack file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from components.cluster.crds import CRDS_PATH
from components.settings.versions import DEFAULT_KUBERAY_VERSION, TOKEN_AUTH_KUBERAY, at_least
from ops import changes, engine, stack_objects
from tests.support import capabilities
from tests.support.cluster import Cluster

Jobs = Callable[..., "subprocess.CompletedProcess[str]"]
"""Runs `python -m jobs NAME ARGUMENTS`."""

ROOT = engine.ROOT
SHARED = ROOT.parent / "shared" / "kuberay"


def use_kuberay(config: dict[str, Any], version: str | None = None) -> None:
    """Sets KubeRay's version in a stack file's settings, without what this version lacks.

    The manifests come from `../shared/kuberay` if they are there; otherwise the program fetches them.

    Args:
        config: settings of the stack by key, with the project's name.
        version: default: the one whose operator the tests have.
    """
    version = version or capabilities.kuberay_version()
    kuberay = config.setdefault(f"{engine.PROJECT}:kuberay", {})
    for key in ("version", "source"):
        kuberay.pop(key, None)
    if version != DEFAULT_KUBERAY_VERSION:
        kuberay["version"] = version
    if (SHARED / version).is_dir():
        kuberay["source"] = str(SHARED / version)
    if not at_least(version, TOKEN_AUTH_KUBERAY):
        for cluster in config.get(f"{engine.PROJECT}:clusters", []):
            cluster["auth"] = "disabled"


@dataclass
class Run:
    """One call of the CLI: what it printed (stdout and stderr together), its exit code, its changes."""

    code: int
    text: str
    changes: list[changes.Change] = field(default_factory=list)


class Stack:
    """`name` on a backend below `folder`; settings start as those of the repository's `Pulumi.<template>.yaml`."""

    def __init__(self, name: str, folder: Path, kubeconfig: Path, context: str, template: str = "dev") -> None:
        self.name = name
        self.folder = folder
        self.config_file = folder / f"Pulumi.{name}.yaml"
        self.environment = {
            "PULUMI_BACKEND_URL": f"file://{folder}/state",
            "PULUMI_CONFIG_PASSPHRASE": "throw-away",
            "PULUMI_HOME": str(folder / "home"),
            "KUBECONFIG": str(kubeconfig),
        }
        (folder / "state").mkdir(parents=True, exist_ok=True)
        content = yaml.safe_load((ROOT / f"Pulumi.{template}.yaml").read_text())
        content["config"][f"{engine.PROJECT}:kubeContext"] = context
        use_kuberay(content["config"])
        self.config_file.write_text(yaml.safe_dump(content))
        engine.init_stack(name, self.environment)

    def use_kuberay(self, version: str) -> None:
        """Sets KubeRay's version in the stack file."""
        content = yaml.safe_load(self.config_file.read_text())
        use_kuberay(content["config"], version)
        self.config_file.write_text(yaml.safe_dump(content))

    def configure(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Edits the stack file; `change` gets its settings by key, without the project's prefix."""
        content = yaml.safe_load(self.config_file.read_text())
        prefix = f"{engine.PROJECT}:"
        own = {key.removeprefix(prefix): value for key, value in content["config"].items() if key.startswith(prefix)}
        rest = {key: value for key, value in content["config"].items() if not key.startswith(prefix)}
        change(own)
        content["config"] = {**rest, **{prefix + key: value for key, value in own.items()}}
        self.config_file.write_text(yaml.safe_dump(content))

    def cli(self, arguments: list[str], *, check: bool = False, seconds: float = 900) -> Run:
        """Runs `pulumi` in the repository. With `check`, an error fails the test and shows what was printed."""
        done = subprocess.run(
            [str(engine.find_cli()), *arguments, "--non-interactive", "--color", "never"],
            cwd=ROOT,
            env={**os.environ, "PULUMI_SKIP_UPDATE_CHECK": "true", **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
        run = Run(done.returncode, done.stdout)
        if check:
            assert run.code == 0, f"pulumi {' '.join(arguments)} ended with {run.code}:\n{run.text}"
        return run

    def operate(self, operation: str, *arguments: str, check: bool = True) -> Run:
        """`up`, `preview`, `refresh` or `destroy` of this stack, and its changes from the engine's event log."""
        log = self.folder / "events.json"
        log.unlink(missing_ok=True)
        command = [operation, "--stack", self.name, "--config-file", str(self.config_file), "--event-log", str(log)]
        if operation != "preview":
            command += ["--yes", "--skip-preview"]
        self.environment["PULUMI_DEBUG_COMMANDS"] = "true"
        run = self.cli([*command, *arguments], check=check)
        run.changes = changes.read(json.loads(line) for line in log.read_text().splitlines()) if log.is_file() else []
        return run

    def up(self, *arguments: str, check: bool = True) -> Run:
        return self.operate("up", *arguments, check=check)

    def preview(self, *arguments: str, check: bool = True) -> Run:
        return self.operate("preview", *arguments, check=check)

    def refresh(self, *arguments: str, check: bool = True) -> Run:
        return self.operate("refresh", *arguments, check=check)

    def destroy(self, *arguments: str, check: bool = True) -> Run:
        return self.operate("destroy", *arguments, check=check)

    def remove(self) -> None:
        """Destroys everything that a test left deployed, protected or not."""
        self.cli(["state", "unprotect", "--all", "--yes", "--stack", self.name])
        self.destroy(check=False)

    def outputs(self) -> dict[str, Any]:
        return engine.stack_outputs(self.name, environment=self.environment)

    def objects(self) -> list[stack_objects.Object]:
        return stack_objects.objects(engine.stack_state(self.name, environment=self.environment))

    def state_bytes(self) -> int:
        """Size of the stack's checkpoint on the backend."""
        return (self.folder / "state/.pulumi/stacks" / engine.PROJECT / f"{self.name}.json").stat().st_size


def jobs_of(stack: Stack, cluster: Cluster) -> Jobs:
    """The jobs command of somebody who has the stack's outputs, as they are now, and the kubeconfig of `cluster`.

    It uses the stack's first RayCluster.
    """
    contract = stack.outputs()["contract"]
    file = stack.folder / "outputs.json"
    file.write_text(json.dumps(contract))
    chosen = contract["clusters"][0]["name"]
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "PULUMI_"))}

    def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "jobs", name, "--outputs", str(file), "--cluster", chosen, *arguments]
        return subprocess.run(
            command, cwd=ROOT, env={**kept, "KUBECONFIG": str(cluster.kubeconfig)}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=400, check=False,
        )  # fmt: skip

    return run


def crds_on(api: Any) -> list[str]:
    """Names of KubeRay's CRDs on the cluster."""
    listing: Mapping[str, Any] = api.get(CRDS_PATH) or {"items": []}
    return sorted(item["metadata"]["name"] for item in listing["items"] if item["spec"]["group"] == "ray.io")
