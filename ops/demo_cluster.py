"""The cluster of `make demo`: the user's, a throw-away kind cluster, or the single-node Kubernetes of this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from components.kuberay import source
from components.settings.versions import DEFAULT_KUBERAY_VERSION, TOKEN_AUTH_KUBERAY, at_least, parts
from jobs.kubernetes.kubeconfig import KubeconfigRefused, kubeconfig_files, read_kubeconfig
from ops import engine
from ops.errors import Unavailable
from single_node import cluster as single_node
from single_node import images, operator, requirements
from single_node.config import CONTEXT as SINGLE_NODE_CONTEXT
from single_node.errors import SingleNodeError
from single_node.programs.kubernetes import missing_programs

DEMO = engine.ROOT / ".demo"
KIND_CLUSTER = "ray-on-kubernetes-demo"
KIND, SINGLE_NODE = "kind", "single node"


@dataclass(frozen=True)
class Cluster:
    """The cluster that the demo deploys to.

    Args:
        kubeconfig: Path of the kubeconfig; None for the usual one.
        context: Its context.
        kind: `kind`, `single node`, or empty for a cluster of the user's.
        throw_away: The demo created the cluster, and `make demo-destroy` removes it.
    """

    kubeconfig: str | None
    context: str
    kind: str = ""
    throw_away: bool = False

    def save(self) -> None:
        DEMO.mkdir(exist_ok=True)
        (DEMO / "cluster.json").write_text(json.dumps(asdict(self)))


def saved() -> Cluster | None:
    """The cluster of an earlier demo; None: there is none."""
    record = DEMO / "cluster.json"
    return Cluster(**json.loads(record.read_text())) if record.is_file() else None


def choose_cluster() -> Cluster:
    """CONTEXT or KUBECONFIG if set, else the current context if the user agrees, else kind, else the single node.

    Nothing is created: `start` does that.

    Raises:
        Unavailable: There is no cluster and none can be created; the message says why each way is closed.
    """
    context, named = os.environ.get("CONTEXT"), os.environ.get("KUBECONFIG")
    if named and not any(Path(place).expanduser().is_file() for place in named.split(os.pathsep)):
        raise Unavailable(f"KUBECONFIG={named}: no such file")
    current = current_context()
    if context or (named and current):
        return Cluster(None, context or str(current))
    if current and confirmed(f"Deploy Ray to the current context {current}?"):
        return Cluster(None, current)
    no_kind = kind_problem()
    if no_kind is None:
        return Cluster(str(DEMO / "kubeconfig"), f"kind-{KIND_CLUSTER}", KIND, throw_away=True)
    problems = requirements.problems()
    if not problems:
        running = single_node.running_state()
        state = running or single_node.default_state()
        return Cluster(str(state / "kubeconfig"), SINGLE_NODE_CONTEXT, SINGLE_NODE, throw_away=running is None)
    hint = f" (to use the current context {current}: CONTEXT={current})" if current else ""
    raise Unavailable(
        f"no cluster: set KUBECONFIG or CONTEXT{hint}; or install kind and Docker ({no_kind}). The single-node "
        f"Kubernetes cannot run here: {'; '.join(problems)}"
    )


def current_context() -> str | None:
    """The kubeconfig's current context; None if there is no kubeconfig or no current context.

    Raises:
        Unavailable: A kubeconfig cannot be read. The message does not repeat its content, which holds credentials.
    """
    if not any(file.is_file() for file in kubeconfig_files(None)):
        return None
    try:
        config = read_kubeconfig(None, option="KUBECONFIG")
    except KubeconfigRefused as error:
        raise Unavailable(str(error)) from error
    return (config.current_context or None) if config else None


def confirmed(question: str) -> bool:
    """Whether a person at a terminal agrees; False without a terminal."""
    if not sys.stdin.isatty():
        return False
    return input(f"{question} [y/N] ").strip().lower() in {"y", "yes"}


def kind_problem() -> str | None:
    """Why kind cannot be used; None: it can."""
    if shutil.which("kind") is None:
        return "kind is not installed"
    docker = shutil.which("docker")
    if docker is None or _exit_code([docker, "info"]):
        return "kind is installed but no Docker engine answers"
    return None


def slow_parts(cluster: Cluster) -> list[str]:
    """What has to be built before the cluster can start, and how long that usually takes."""
    if cluster.kind != SINGLE_NODE:
        return []
    parts_to_build = []
    if missing_programs():
        parts_to_build.append("Kubernetes from Go modules (12 minutes)")
    if images.missing_images():
        parts_to_build.append("its images (6 minutes)")
    if not cached_operators():
        parts_to_build.append(f"KubeRay's operator {operator.VERSIONS[-1]} (3 minutes)")
    return parts_to_build


def start(cluster: Cluster) -> None:
    """Starts the cluster, if the demo has to.

    Raises:
        Unavailable: It did not start.
    """
    if cluster.kind == KIND:
        _create_kind(Path(str(cluster.kubeconfig)))
    elif cluster.kind == SINGLE_NODE:
        try:
            if not cached_operators():
                operator.build(operator.VERSIONS[-1])
            single_node.up(Path(str(cluster.kubeconfig)).parent)
        except SingleNodeError as error:
            raise Unavailable(str(error)) from error


def stop(cluster: Cluster) -> int:
    """Removes the cluster if the demo created it; returns an exit code."""
    if not cluster.throw_away:
        return 0
    if cluster.kind == KIND:
        return subprocess.run(["kind", "delete", "cluster", "--name", KIND_CLUSTER], check=False).returncode
    single_node.down(Path(str(cluster.kubeconfig)).parent)
    return 0


def cached_operators() -> list[str]:
    """Recorded versions of KubeRay whose operator's image the single node has, oldest first."""
    known = source.recorded()
    return sorted((version for version in known if operator.is_built(version)), key=parts)


def kuberay_version(cluster: Cluster) -> str:
    """The version of KubeRay for the cluster: the single node pulls no images, so it has what is cached or built."""
    if cluster.kind != SINGLE_NODE:
        return DEFAULT_KUBERAY_VERSION
    versions = cached_operators()
    return DEFAULT_KUBERAY_VERSION if DEFAULT_KUBERAY_VERSION in versions or not versions else versions[-1]


def has_tokens(version: str) -> bool:
    """Whether this version of KubeRay has token authentication."""
    return at_least(version, TOKEN_AUTH_KUBERAY)


def _create_kind(kubeconfig: Path) -> None:
    listed = subprocess.run(["kind", "get", "clusters"], capture_output=True, text=True, check=False)
    if KIND_CLUSTER in listed.stdout.split():
        return
    click.echo(f"creating a throw-away cluster: kind create cluster --name {KIND_CLUSTER}", err=True)
    kubeconfig.parent.mkdir(parents=True, exist_ok=True)
    command = ["kind", "create", "cluster", "--name", KIND_CLUSTER, "--wait", "120s", "--kubeconfig", str(kubeconfig)]
    if subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode:
        raise Unavailable("kind could not create a cluster; its output is above")


def _exit_code(command: list[str]) -> int:
    try:
        return subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, timeout=10, check=False
        ).returncode
    except subprocess.TimeoutExpired:
        return 1
