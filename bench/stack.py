"""The stack against the same work with kubectl: no-op preview and up, first up, destroy, size of the state.

kubectl applies what people apply by hand: upstream's files of the operator as they are, and this stack's other objects
as the render mode writes them, without the variable that ends the autoscaler with its head.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from bench.measure import Sample, command, in_turn, keep, pulumi, pulumi_output, summary
from components.kuberay import overlay, source
from components.settings import parse
from ops import render
from single_node.requirements import kubectl_path
from tests.support.cluster import Cluster, use_cluster
from tests.support.stack import Stack

NAMESPACE, CLUSTER, OPERATOR_NAMESPACE = "ray-cluster", "raycluster-autoscaler", "ray-system"
NO_OP_RUNS, CYCLES = 5, 5
# Between `up` and `destroy`: for half a minute Kubernetes' garbage collector does not know a kind that is new.
SETTLE_SECONDS = 40.0


class ByHand:
    """kubectl with the objects in `folder` (render mode's `0-crd/` and `1-manifest/`)."""

    def __init__(self, cluster: Cluster, folder: Path, overlays: Path) -> None:
        self.kubectl = str(kubectl_path())
        self.environment = {"KUBECONFIG": str(cluster.kubeconfig)}
        self.folder = folder
        self.overlays = overlays
        manifests = sorted((folder / "1-manifest").glob("*.yaml"))
        self.raycluster = next(file for file in manifests if file.name.startswith("ray.io_v1-raycluster-"))
        as_upstream(self.raycluster)
        self.namespaces = [file for file in manifests if "-namespace-" in file.name]
        # The objects of the overlay are applied with `-k`.
        known = {self.raycluster, *self.namespaces}
        self.rest = [file for file in manifests if file not in known and "kuberay-operator" not in file.name]

    def shell(self, *lines: str, allowed: tuple[int, ...] = (0,)) -> Sample:
        """Runs all lines in one process."""
        script = "set -e\n" + "\n".join(line.replace("kubectl", self.kubectl, 1) for line in lines)
        return command(["bash", "-c", script], environment=self.environment, allowed=allowed)

    def no_op(self) -> Sample:
        """Renders the overlays and lets the server compare them. `kubectl diff` exits with 1 for a difference."""
        rendered = " ".join(f"-f {file}" for file in (*self.namespaces, *self.rest, self.raycluster))
        return self.shell(
            f"kubectl kustomize {self.overlays} > {self.folder}/overlay.yaml",
            f"kubectl diff --server-side --force-conflicts -f {self.folder}/overlay.yaml {rendered} || true",
        )

    def first(self) -> Sample:
        apply = "kubectl apply --server-side --force-conflicts"
        return self.shell(
            *(f"{apply} -f {file}" for file in self.namespaces),
            f"{apply} -k {self.overlays}",
            *(f"{apply} -f {file}" for file in self.rest),
            f"kubectl rollout status -n {OPERATOR_NAMESPACE} deployment/kuberay-operator --timeout=180s",
            f"{apply} -f {self.raycluster}",
            f"kubectl wait -n {NAMESPACE} raycluster/{CLUSTER} --for=condition=HeadPodReady --timeout=300s",
            f"kubectl wait -n {NAMESPACE} raycluster/{CLUSTER} --for=condition=RayClusterProvisioned --timeout=300s",
        )

    def destroy(self) -> Sample:
        return self.shell(
            f"kubectl delete --cascade=foreground -f {self.raycluster} --timeout=180s",
            f"kubectl delete -k {self.overlays} --timeout=180s",
            *(f"kubectl delete --ignore-not-found -f {file} --timeout=180s" for file in self.namespaces),
        )


def upstream_overlay(folder: Path) -> Path:
    """Writes a kustomization of upstream's CRDs and operator: only the namespace and the image's version are set."""
    folder.mkdir()
    kuberay = parse({}).kuberay
    tree = source.resolve(kuberay.version)
    folders = (source.CRD_FOLDER, source.RBAC_FOLDER, source.MANAGER_FOLDER)
    content = {
        "namespace": OPERATOR_NAMESPACE,
        "resources": [os.path.relpath(tree / name, folder) for name in folders],
        "images": overlay.images(kuberay),
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(content))
    return folder


def as_upstream(raycluster: Path) -> None:
    """Removes from a RayCluster's file what upstream's sample does not have: the variable that ends its autoscaler."""
    content = yaml.safe_load(raycluster.read_text())
    content["spec"]["autoscalerOptions"]["env"] = []
    raycluster.write_text(yaml.safe_dump(content))


def measure() -> dict[str, Any]:
    """Measures everything, on the cluster that TEST_CLUSTER names (native by default)."""
    with use_cluster() as cluster, tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        folder = Path(scratch)
        stack = Stack("bench", folder / "stack", cluster.kubeconfig, cluster.context)
        render.render("dev", folder / "rendered")
        by_hand = ByHand(cluster, folder / "rendered", upstream_overlay(folder / "upstream"))
        return {**_cycles(stack, by_hand), **_no_ops(stack, by_hand)}


def _cycles(stack: Stack, by_hand: ByHand) -> dict[str, Any]:
    """First up and destroy, in turn with kubectl: A B, then B A, after one cycle that does not count."""
    samples: dict[str, list[Sample]] = {"up": [], "destroy": [], "kubectl apply": [], "kubectl delete": []}

    def ours() -> None:
        samples["up"].append(pulumi(stack, "up", "--yes", "--skip-preview"))
        time.sleep(SETTLE_SECONDS)
        samples["destroy"].append(pulumi(stack, "destroy", "--yes", "--skip-preview"))

    def theirs() -> None:
        samples["kubectl apply"].append(by_hand.first())
        time.sleep(SETTLE_SECONDS)
        samples["kubectl delete"].append(by_hand.destroy())

    theirs()
    for runs in samples.values():
        runs.clear()
    for cycle in range(CYCLES):
        for contestant in (ours, theirs) if cycle % 2 == 0 else (theirs, ours):
            contestant()
    return {name: summary(runs) for name, runs in samples.items()}


def _no_ops(stack: Stack, by_hand: ByHand) -> dict[str, Any]:
    stack.up()
    contestants: dict[str, Callable[[], Sample]] = {
        "no-op preview": lambda: pulumi(stack, "preview", "--expect-no-changes"),
        "no-op up": lambda: pulumi(stack, "up", "--yes", "--skip-preview", "--expect-no-changes"),
        "kubectl kustomize and diff": by_hand.no_op,
    }
    samples = in_turn(contestants, NO_OP_RUNS)
    size = stack.state_bytes()
    samples["look-up through the Pulumi CLI"] = [pulumi_output(stack) for _ in range(NO_OP_RUNS)]
    stack.destroy()
    return {**{name: summary(runs) for name, runs in samples.items()}, "state bytes": size}


if __name__ == "__main__":
    print(keep("stack", measure()))
