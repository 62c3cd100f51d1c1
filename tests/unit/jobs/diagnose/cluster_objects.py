"""A RayCluster and its pods, as Kubernetes answers."""

from __future__ import annotations

from typing import Any

GROUP = {
    "groupName": "small-group",
    "minReplicas": 0,
    "maxReplicas": 3,
    "rayStartParams": {},
    "template": {"spec": {"containers": [{"resources": {"limits": {"cpu": "1500m", "memory": "2Gi"}}}]}},
}


def pod(name: str, *, head: bool = False, **status: Any) -> dict[str, Any]:
    labels = {"ray.io/cluster": "ray", "ray.io/node-type": "head" if head else "worker"}
    labels["ray.io/group"] = "headgroup" if head else "small-group"
    return {"metadata": {"name": name, "labels": labels}, "status": {"phase": "Pending", **status}}


def ray_cluster(*groups: dict[str, Any], **status: Any) -> dict[str, Any]:
    spec = {"enableInTreeAutoscaling": True, "workerGroupSpecs": list(groups or [GROUP])}
    return {"metadata": {"name": "ray", "generation": 1}, "spec": spec, "status": {"observedGeneration": 1, **status}}
