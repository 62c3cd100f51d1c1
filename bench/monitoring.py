"""The cost of monitoring: a preview without changes and the size of the state, with monitoring and without."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from bench.measure import Sample, keep, pulumi, summary
from tests.support import prometheus
from tests.support.cluster import use_cluster
from tests.support.stack import Stack

NAMESPACE = "bench-monitoring"
EVERYTHING = {"podMonitor": True, "rules": True, "dashboards": {"namespace": NAMESPACE}}
ROUNDS, RUNS = 3, 3


def measure() -> dict[str, Any]:
    """Measures in turn, on the cluster that TEST_CLUSTER names. The RayCluster is suspended: its pods play no part."""
    samples: dict[str, list[Sample]] = {"with": [], "without": []}
    sizes: dict[str, int] = {}
    with use_cluster() as cluster, prometheus.with_crds(cluster), tempfile.TemporaryDirectory() as scratch:
        cluster.kubectl("create", "namespace", NAMESPACE)
        stack = Stack("monitoring", Path(scratch), cluster.kubeconfig, cluster.context)
        stack.configure(lambda settings: settings["clusters"][0].update(suspend=True))
        for _ in range(ROUNDS):
            for name, monitoring in (("without", {}), ("with", EVERYTHING)):
                stack.configure(lambda settings, value=monitoring: settings.update(monitoring=value))  # type: ignore[misc]
                stack.up()
                samples[name] += [pulumi(stack, "preview", "--expect-no-changes") for _ in range(RUNS)]
                sizes[name] = stack.state_bytes()
        stack.destroy()
        cluster.kubectl("delete", "namespace", NAMESPACE)
    return {**{name: summary(runs) for name, runs in samples.items()}, "state bytes": sizes}


if __name__ == "__main__":
    print(keep("monitoring", measure()))
