"""Resources as Ray counts them: what a job asks for, what nodes have, what worker groups would bring. Pure."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..kubernetes.quantities import parse_quantity
from ..spec.job_info import RESOURCES_KEY, JobInfo

Resources = dict[str, float]


def quantity(value: Any) -> float:
    """A Kubernetes quantity as a number: 500m is 0.5, 1Gi is 2**30. Any other value counts as 0."""
    try:
        return float(parse_quantity(str(value).strip()))
    except ValueError:
        return 0.0


def asked_by(job: JobInfo) -> tuple[Resources, dict[str, str]]:
    """What the entrypoint reserves, and the labels that its node must have; from the client's own metadata."""
    try:
        raw = json.loads(job.metadata.get(RESOURCES_KEY, "{}"))
    except ValueError:
        return {}, {}
    named = {"CPU": raw.get("num_cpus"), "GPU": raw.get("num_gpus"), "memory": raw.get("memory")}
    named |= raw.get("resources") or {}
    return {key: float(value) for key, value in named.items() if value}, dict(raw.get("label_selector") or {})


def fits(asked: Mapping[str, float], has: Mapping[str, float]) -> bool:
    return all(has.get(name, 0.0) >= amount for name, amount in asked.items())


def short_of(asked: Mapping[str, float], nodes: Iterable[Mapping[str, float]]) -> list[str]:
    """For each resource that no single node has enough of, what the largest has: `64 CPU (the largest node has 4)`."""
    nodes = list(nodes)
    lines = []
    for name, amount in asked.items():
        most = max((node.get(name, 0.0) for node in nodes), default=0.0)
        if most < amount:
            has = "no node has any" if not most else f"the largest node has {show(name, most)}"
            lines.append(f"{show(name, amount)} {name} ({has})")
    return lines


def show(name: str, amount: float) -> str:
    return f"{amount / 2**30:.1f} GiB" if name in ("memory", "object_store_memory") else f"{amount:g}"


def listed(asked: Mapping[str, float]) -> str:
    return ", ".join(f"{show(name, amount)} {name}" for name, amount in asked.items()) or "nothing"


@dataclass(frozen=True)
class Group:
    """A worker group of a RayCluster. `each`: what one of its nodes brings; `running`: its pods now."""

    name: str
    each: Resources
    running: int
    most: int
    suspended: bool


def groups_of(ray_cluster: Mapping[str, Any], pods: Iterable[Mapping[str, Any]]) -> list[Group]:
    """The worker groups of a RayCluster manifest."""
    counts: dict[str, int] = {}
    for pod in pods:
        group = (pod["metadata"].get("labels") or {}).get("ray.io/group", "")
        counts[group] = counts.get(group, 0) + 1
    found = []
    spec = ray_cluster.get("spec") or {}
    for raw in spec.get("workerGroupSpecs") or []:
        name = str(raw.get("groupName"))
        most = raw.get("maxReplicas", 2**31 - 1) if spec.get("enableInTreeAutoscaling") else raw.get("replicas", 0)
        found.append(Group(name, node_of(raw), counts.get(name, 0), int(most or 0), bool(raw.get("suspend"))))
    return found


def node_of(group: Mapping[str, Any]) -> Resources:
    """What a pod of this group will tell Ray it has: rayStartParams first, then the container's limits."""
    containers = (((group.get("template") or {}).get("spec")) or {}).get("containers") or [{}]
    declared = containers[0].get("resources") or {}
    amounts = {**(declared.get("requests") or {}), **(declared.get("limits") or {})}
    found: Resources = {}
    for key, value in amounts.items():
        if key == "cpu":
            found["CPU"] = float(-(-quantity(value) // 1))  # Ray rounds up to whole CPUs.
        elif key == "memory":
            found["memory"] = quantity(value) * 0.7  # Ray keeps 30 % for the object store.
        elif key.endswith("/gpu") or "gpu" in key.rpartition("/")[2]:
            found["GPU"] = found.get("GPU", 0.0) + quantity(value)
        elif key == "google.com/tpu":
            found["TPU"] = quantity(value)
    params = group.get("rayStartParams") or {}
    for param, name in (("num-cpus", "CPU"), ("num-gpus", "GPU"), ("memory", "memory")):
        if param in params:
            found[name] = quantity(params[param])
    custom = str(params.get("resources", "")).strip("'\"").replace("\\", "")
    with contextlib.suppress(ValueError, AttributeError, TypeError):
        found |= {str(name): float(amount) for name, amount in json.loads(custom or "{}").items()}
    return found
