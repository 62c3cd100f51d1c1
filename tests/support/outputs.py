"""A stack's outputs, as `make outputs` writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jobs.target.options import TargetOptions
from jobs.target.resolve import ClusterTarget, resolve


def contract(stack: str = "dev", clusters: int = 1, **changes: Any) -> dict[str, Any]:
    """The contract of a stack with `clusters` Ray clusters; `changes` replace its keys."""
    entries = [
        {
            "name": f"ray-{i}",
            "namespace": "ray-cluster",
            "headService": f"ray-{i}-head-svc",
            "dashboardPort": 8265,
            "rayVersion": "2.60.0",
            "externalUrl": None,
            "authSecret": {"name": f"ray-{i}", "key": "auth_token"},
            "keeper": None,
        }
        for i in range(clusters)
    ]
    whole = {
        "schemaVersion": 1,
        "project": "ray-on-kubernetes",
        "stack": stack,
        "kubeconfig": None,
        "kubeContext": "kind-ray",
        "clusterUid": "uid",
        "operator": {"namespace": "ray-system", "version": "v1.7.0"},
        "prometheus": None,
        "clusters": entries,
    }
    return {**whole, **changes}


def write(path: Path, value: Any) -> Path:
    """Writes a text as it is, and any other value as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def cluster_of(options: TargetOptions, environ: dict[str, str], cwd: Path) -> ClusterTarget:
    """The target that these options, variables and working directory lead to."""
    target = resolve(options, environ={"PATH": "/nonexistent", **environ}, cwd=cwd)
    assert isinstance(target, ClusterTarget)
    return target
