"""The cluster of `make demo`: the user's, a throw-away kind cluster, or the single-node Kubernetes of this machine."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click

from components.kuberay import source
from components.settings.versions import DEFAULT_KUBERAY_VERSION, TOKEN_AUTH_KUBERAY, at_least, parts
from jobs.kubernetes.kubeconfig import KubeconfigRefused, kubeconfig_files, read_kubeconfig
from ops import engine
from ops.errors import Refused, Unavailable
from single_node import cluster as single_node
from single_node import images, operator, requirements
from single_node.cache import write_atomically
from single_node.config import CONTEXT as SINGLE_NODE_CONTEXT
from single_node.errors import SingleNodeError
from single_node.programs.kubernetes import missing_programs

DEMO = engine.ROOT / ".demo"
KIND_CLUSTER = "ray-on-kubernetes-demo"
KIND, SINGLE_NODE = "kind", "single node"
STACK = "dev"


@dataclass(frozen=True)
class Cluster:
    """The cluster that the demo deploys to.

    Args:
        kubeconfig: Path of the kubeconfig; None for the usual one.
        context: Its context.
        kind: `kind`, `single node`, or empty for a cluster of the user's.
        throw_away: The demo created the cluster, and `make demo-destroy` removes it.
        identity: Digest of the kubeconfig that the demo deployed with; empty before, and for a cluster of the user's.
            A single node or kind cluster that was started anew has another one, and nothing of the demo on it.
    """

    kubeconfig: str | None
    context: str
    kind: str = ""
    throw_away: bool = False
    identity: str = ""

    def save(self) -> None:
        write_atomically(DEMO / "cluster.json", json.dumps(asdict(self)))

    def same_place(self, other: Cluster) -> bool:
        return (self.kubeconfig, self.context) == (other.kubeconfig, other.context)


def stack_file() -> Path:
    """The demo's stack file; it is there as soon as a deployment has begun."""
    return DEMO / f"Pulumi.{STACK}.yaml"


def saved() -> Cluster | None:
    """The cluster of an earlier demo; None: there is none."""
    record = DEMO / "cluster.json"
    return Cluster(**json.loads(record.read_text())) if record.is_file() else None


def choose_cluster() -> Cluster:
    """CONTEXT or KUBECONFIG if set, else the current context if the user agrees, else kind, else the single node.

    Nothing is asked again, and nothing is created: `start` does that.

    Raises:
        Unavailable: There is no cluster and none can be created; the message says why each way is closed.
        Refused: The demo is deployed to another cluster.
    """
    previous = saved()
    cluster = named_cluster(previous) or _available_cluster(previous)
    if previous and not cluster.same_place(previous) and exists(previous):
        raise Refused(f"the demo is deployed to the context {previous.context}. Remove it first: make demo-destroy")
    return cluster


def _available_cluster(previous: Cluster | None) -> Cluster:
    if previous and not previous.kind and exists(previous):
        return previous
    current = current_context()
    if not (previous and previous.kind) and current and confirmed(f"Deploy Ray to the current context {current}?"):
        return _users(None, current, previous)
    no_kind, no_single_node = kind_problem(), requirements.problems()
    if not no_single_node and (no_kind or (previous and previous.kind == SINGLE_NODE)):
        return _single_node(previous)
    if no_kind is None:
        cluster = Cluster(str(DEMO / "kubeconfig"), f"kind-{KIND_CLUSTER}", KIND, throw_away=True)
        return replace(cluster, identity=previous.identity) if previous and previous.same_place(cluster) else cluster
    hint = f" (to use the current context {current}: CONTEXT={current})" if current else ""
    raise Unavailable(
        f"no cluster: set KUBECONFIG or CONTEXT{hint}; or install kind and Docker ({no_kind}). The single-node "
        f"Kubernetes cannot run here: {'; '.join(no_single_node)}"
    )


def named_cluster(previous: Cluster | None) -> Cluster | None:
    """The cluster that CONTEXT or KUBECONFIG name; None: they name none.

    Raises:
        Unavailable: A kubeconfig is missing or cannot be read.
    """
    context, named = os.environ.get("CONTEXT"), os.environ.get("KUBECONFIG")
    places = [Path(place).expanduser().absolute() for place in (named or "").split(os.pathsep) if place]
    if named and not any(place.is_file() for place in places):
        raise Unavailable(f"KUBECONFIG={named}: no such file")
    if not context and not named:
        return None
    chosen = context or current_context()
    return _users(os.pathsep.join(map(str, places)) or None, chosen, previous) if chosen else None


def _users(kubeconfig: str | None, context: str, previous: Cluster | None) -> Cluster:
    """A cluster of the user's. It may be this machine's single node, which pulls no images."""
    running = single_node.running_state()
    if running and context == SINGLE_NODE_CONTEXT:
        content = (running / "kubeconfig").read_bytes()
        if any(file.read_bytes() == content for file in kubeconfig_files(None) if file.is_file()):
            return _single_node(previous)
    return Cluster(kubeconfig, context)


def _single_node(previous: Cluster | None) -> Cluster:
    """This machine's single node. One that runs is the demo's only if an earlier demo started it."""
    running = single_node.running_state()
    kubeconfig = str((running or single_node.default_state()) / "kubeconfig")
    cluster = Cluster(kubeconfig, SINGLE_NODE_CONTEXT, SINGLE_NODE, throw_away=running is None)
    if previous is None or not previous.same_place(cluster):
        return cluster
    started_by_demo = previous.throw_away and previous.identity in ("", kubeconfig_digest(cluster))
    return replace(cluster, throw_away=running is None or started_by_demo, identity=previous.identity)


def kubeconfig_digest(cluster: Cluster) -> str:
    """The cluster's identity now; empty for a cluster of the user's, and where there is no kubeconfig."""
    file = Path(cluster.kubeconfig or "")
    return hashlib.sha256(file.read_bytes()).hexdigest() if cluster.kind and file.is_file() else ""


def exists(cluster: Cluster) -> bool:
    """Whether the cluster that an earlier demo deployed to is still there. Of a user's cluster that is assumed."""
    if not cluster.kind:
        return stack_file().is_file()
    return _runs(cluster) and cluster.identity != "" and kubeconfig_digest(cluster) == cluster.identity


def _runs(cluster: Cluster) -> bool:
    if cluster.kind == KIND:
        return kind_problem() is not None or KIND_CLUSTER in _kind_clusters()  # unknown: it may run
    return single_node.running_state() == Path(str(cluster.kubeconfig)).parent


def forget_unused() -> None:
    """Removes the record of a cluster that did not start: one that the user starts later is not the demo's."""
    cluster = saved()
    if cluster and cluster.kind and not cluster.identity and not _runs(cluster):
        shutil.rmtree(DEMO)


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
    click.echo(f"{question} [y/N] ", err=True, nl=False)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def kind_problem() -> str | None:
    """Why kind cannot be used; None: it can."""
    if shutil.which("kind") is None:
        return "kind is not installed"
    docker = shutil.which("docker")
    if docker is None or _exit_code([docker, "info"]):
        return "kind is installed but no Docker engine answers"
    return None


def slow_parts(cluster: Cluster, version: str) -> list[str]:
    """What has to be built before the cluster can start, and how long that usually takes.

    Args:
        cluster: The cluster.
        version: KubeRay's version there.
    """
    if cluster.kind != SINGLE_NODE:
        return []
    parts_to_build = []
    if missing_programs():
        parts_to_build.append("Kubernetes from Go modules (12 minutes)")
    if images.missing_images():
        parts_to_build.append("its images (6 minutes)")
    if not operator.is_built(version):
        parts_to_build.append(f"KubeRay's operator {version} (3 minutes)")
    return parts_to_build


def install_packages(cluster: Cluster) -> None:
    """Installs what the single node needs of Debian: without a terminal at once, else after a question.

    Raises:
        Unavailable: They cannot be installed; the message has the command.
    """
    if cluster.kind == SINGLE_NODE:
        try:
            requirements.install_packages()
        except SingleNodeError as error:
            raise Unavailable(str(error)) from error


def start(cluster: Cluster, version: str) -> None:
    """Starts the cluster, if the demo has to.

    Args:
        cluster: The cluster.
        version: KubeRay's version, whose operator's image the single node has to have.

    Raises:
        Unavailable: It did not start.
    """
    if cluster.kind == KIND:
        _create_kind(Path(str(cluster.kubeconfig)))
    elif cluster.kind == SINGLE_NODE:
        try:
            if not operator.is_built(version):
                operator.build(version)
            single_node.up(Path(str(cluster.kubeconfig)).parent)
        except (SingleNodeError, OSError) as error:
            raise Unavailable(f"the single-node Kubernetes: {error}") from error


def stop(cluster: Cluster) -> int:
    """Removes the cluster if the demo created it; returns an exit code."""
    if not cluster.throw_away:
        return 0
    if cluster.kind == KIND:
        return subprocess.run(["kind", "delete", "cluster", "--name", KIND_CLUSTER], check=False).returncode
    if _single_node(cluster).throw_away:  # not one that somebody started after the demo's had ended
        single_node.down(Path(str(cluster.kubeconfig)).parent)
    return 0


def cached_operators() -> list[str]:
    """Recorded versions of KubeRay whose operator's image the single node has, oldest first."""
    known = source.recorded()
    return sorted((version for version in known if operator.is_built(version)), key=parts)


def kuberay_versions(cluster: Cluster) -> list[str]:
    """The versions of KubeRay that a new deployment can have, the best first.

    The single node pulls no images: it has the default version, or the newest whose image is there, else one that can
    be built.
    """
    if cluster.kind != SINGLE_NODE:
        return [DEFAULT_KUBERAY_VERSION]
    versions = [*cached_operators()[::-1], operator.VERSIONS[-1]]
    if DEFAULT_KUBERAY_VERSION in versions:
        versions.insert(0, DEFAULT_KUBERAY_VERSION)
    return list(dict.fromkeys(versions))


def has_tokens(version: str) -> bool:
    """Whether this version of KubeRay has token authentication."""
    return at_least(version, TOKEN_AUTH_KUBERAY)


def _kind_clusters() -> list[str]:
    return subprocess.run(["kind", "get", "clusters"], capture_output=True, text=True, check=False).stdout.split()


def _create_kind(kubeconfig: Path) -> None:
    there = KIND_CLUSTER in _kind_clusters()
    if there and kubeconfig.is_file():
        return
    kubeconfig.parent.mkdir(parents=True, exist_ok=True)
    options = ["--name", KIND_CLUSTER, "--kubeconfig", str(kubeconfig)]
    if there:
        command = ["kind", "export", "kubeconfig", *options]
    else:
        command = ["kind", "create", "cluster", *options, "--wait", "120s"]
        click.echo(f"creating a throw-away cluster: kind create cluster --name {KIND_CLUSTER}", err=True)
    if subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode:
        raise Unavailable("kind could not create a cluster; its output is above")


def _exit_code(command: list[str]) -> int:
    try:
        return subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, timeout=10, check=False
        ).returncode
    except subprocess.TimeoutExpired:
        return 1
