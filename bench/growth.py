"""Growth: 1, 10 and 100 suspended RayClusters in one stack; what each costs in preview, up, destroy and state.

Suspended clusters make objects and no pods, so a node with two cores can hold a hundred.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from bench.measure import keep, pulumi
from tests.support.cluster import use_cluster
from tests.support.stack import Stack

SIZES = (1, 10, 100)


def suspended(count: int) -> list[dict[str, Any]]:
    return [{"name": f"cluster-{number:03}", "suspend": True} for number in range(count)]


def measure() -> dict[str, Any]:
    results: dict[str, Any] = {}
    with use_cluster() as cluster, tempfile.TemporaryDirectory(prefix="growth-") as scratch:
        stack = Stack("growth", Path(scratch), cluster.kubeconfig, cluster.context)
        for size in SIZES:
            stack.configure(lambda settings, size=size: settings.update(clusters=suspended(size)))  # type: ignore[misc]
            first = pulumi(stack, "up", "--yes", "--skip-preview")
            preview = pulumi(stack, "preview", "--expect-no-changes")
            state = stack.state_bytes()
            destroy = pulumi(stack, "destroy", "--yes", "--skip-preview")
            results[str(size)] = {
                "up": first.wall,
                "no-op preview": preview.wall,
                "destroy": destroy.wall,
                "state bytes": state,
            }
            print(f"{size}: {results[str(size)]}", flush=True)
    return results


if __name__ == "__main__":
    print(keep("growth", measure()))
