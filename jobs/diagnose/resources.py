"""Resources as Ray counts them: of jobs, nodes and worker groups. Pure."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..kubernetes.quantities import parse_quantity
from ..spec.job_info import JobInfo

Resources = dict[str, float]
MOST_AMOUNT = 2.0**63


def quantity(value: Any) -> float:
    """Converts a Kubernetes quantity to a number: 500m is 0.5, 1Gi is 2**30. Any other value counts as 0."""
    try:
        return float(parse_quantity(str(value).strip()))
    except ValueError:
        return 0.0


def demand_of(job: JobInfo) -> tuple[Resources, dict[str, str]]:
    """Returns the resources that the entrypoint reserves and the labels that it requires, from its metadata."""
    raw = job.entrypoint_resources
    amounts = {"CPU": raw.get("num_cpus"), "GPU": raw.get("num_gpus"), "memory": raw.get("memory")}
    custom, labels = raw.get("resources"), raw.get("label_selector")
    amounts |= custom if isinstance(custom, dict) else {}
    # Another client may have written anything under this key.
    demand = {key: float(value) for key, value in amounts.items() if value is not None and _is_amount(value)}
    return demand, {key: str(value) for key, value in labels.items()} if isinstance(labels, dict) else {}


def _is_amount(value: Any) -> bool:
    return isinstance(value, int | float) and 0 < value < MOST_AMOUNT


def fits(demand: Mapping[str, float], node: Mapping[str, float]) -> bool:
    return all(node.get(name, 0.0) >= amount for name, amount in demand.items())


def shortages(demand: Mapping[str, float], nodes: Iterable[Mapping[str, float]]) -> list[str]:
    """Returns each resource that no single node has enough of, such as `64 CPU (the largest node has 4)`."""
    nodes = list(nodes)
    lines = []
    for name, amount in demand.items():
        most = max((node.get(name, 0.0) for node in nodes), default=0.0)
        if most < amount:
            has = "no node has any" if not most else f"the largest node has {show(name, most)}"
            lines.append(f"{show(name, amount)} {name} ({has})")
    return lines


def show(name: str, amount: float) -> str:
    return f"{amount / 2**30:.1f} GiB" if name in ("memory", "object_store_memory") else f"{amount:g}"


def resource_list(amounts: Mapping[str, float]) -> str:
    return ", ".join(f"{show(name, amount)} {name}" for name, amount in amounts.items()) or "nothing"


@dataclass(frozen=True)
class Group:
    """A worker group of a RayCluster. `each`: the resources of one node; `running`: its pods now; `most`: its limit."""

    name: str
    each: Resources
    running: int
    most: int
    suspended: bool


def groups_of(ray_cluster: Mapping[str, Any], pods: Iterable[Mapping[str, Any]]) -> list[Group]:
    """Returns the worker groups of a RayCluster manifest."""
    counts: dict[str, int] = {}
    for pod in pods:
        group = (pod["metadata"].get("labels") or {}).get("ray.io/group", "")
        counts[group] = counts.get(group, 0) + 1
    groups = []
    spec = ray_cluster.get("spec") or {}
    for raw in spec.get("workerGroupSpecs") or []:
        name = str(raw.get("groupName"))
        most = raw.get("maxReplicas", 2**31 - 1) if spec.get("enableInTreeAutoscaling") else raw.get("replicas", 0)
        groups.append(Group(name, node_of(raw), counts.get(name, 0), int(most or 0), bool(raw.get("suspend"))))
    return groups


def node_of(group: Mapping[str, Any]) -> Resources:
    """Returns the resources that Ray sees in a pod of this group: from rayStartParams, else from the container's
    limits."""
    containers = (((group.get("template") or {}).get("spec")) or {}).get("containers") or [{}]
    declared = containers[0].get("resources") or {}
    amounts = {**(declared.get("requests") or {}), **(declared.get("limits") or {})}
    resources: Resources = {}
    for key, value in amounts.items():
        if key == "cpu":
            resources["CPU"] = float(-(-quantity(value) // 1))  # Ray rounds up to whole CPUs.
        elif key == "memory":
            resources["memory"] = quantity(value) * 0.7  # Ray keeps 30 % for the object store.
        elif key.endswith("/gpu") or "gpu" in key.rpartition("/")[2]:
            resources["GPU"] = resources.get("GPU", 0.0) + quantity(value)
        elif key == "google.com/tpu":
            resources["TPU"] = quantity(value)
    params = group.get("rayStartParams") or {}
    for param, name in (("num-cpus", "CPU"), ("num-gpus", "GPU"), ("memory", "memory")):
        if param in params:
            resources[name] = quantity(params[param])
    custom = str(params.get("resources", "")).strip("'\"").replace("\\", "")
    with contextlib.suppress(ValueError, AttributeError, TypeError):
        resources |= {str(name): float(amount) for name, amount in json.loads(custom or "{}").items()}
    return resources
