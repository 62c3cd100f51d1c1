"""ResourceQuota and LimitRange of a namespace, and what the stack's pods in it request; pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from components.manifests.keeper import container_resources
from components.settings import Settings
from components.settings.access import Quota
from components.settings.kuberay import OPERATOR, UPSTREAM_SIZES, template_containers
from jobs.kubernetes.quantities import parse_quantity

Object = dict[str, Any]
Amounts = dict[str, Decimal]

NAME = "ray"
GPU = "nvidia.com/gpu"
# What the operator adds: an init container in each worker, and one pod at the end that cleans Redis.
INIT = {"cpu": Decimal("0.2"), "memory": Decimal(256 * 1024**2)}
# The Redis of a trial, see manifests/redis.py.
REDIS = {"cpu": Decimal("0.05"), "memory": Decimal(256 * 1024**2), "pods": Decimal(1)}


def objects(settings: Settings, manifests: Sequence[Mapping[str, Any]], name: str) -> list[Object]:
    """Builds the ResourceQuota and LimitRange of namespace `name`, where the settings have them.

    Args:
        settings: settings of the stack.
        manifests: the RayCluster of each entry of `settings.clusters`.
        name: name of the namespace.
    """
    namespace = settings.namespace_settings(name)
    metadata = {"name": NAME, "namespace": name}
    result: list[Object] = []
    if namespace.quota:
        hard = (
            hard_limits(namespace.quota)
            if isinstance(namespace.quota, Quota)
            else _fitting(requests_in(settings, manifests, name, largest=True))
        )
        result.append({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": {"hard": hard}})
    if namespace.limits:
        bounds = {
            "default": namespace.limits.default,
            "defaultRequest": namespace.limits.default_request,
            "max": namespace.limits.max,
        }
        limit = {
            key: {resource: size for resource, size in sizes if size}
            for key, sizes in bounds.items()
            if sizes.cpu or sizes.memory
        }
        spec = {"limits": [{"type": "Container", **limit}]}
        result.append({"apiVersion": "v1", "kind": "LimitRange", "metadata": metadata, "spec": spec})
    return result


def hard_limits(quota: Quota) -> dict[str, str]:
    """Returns `spec.hard` of a ResourceQuota."""
    sizes = {
        "requests.cpu": quota.cpu,
        "requests.memory": quota.memory,
        f"requests.{GPU}": None if quota.gpu is None else str(quota.gpu),
        "pods": None if quota.pods is None else str(quota.pods),
    }
    return {key: size for key, size in sizes.items() if size}


def _fitting(total: Amounts) -> dict[str, str]:
    sizes = {
        "requests.cpu": f"{math.ceil(total['cpu'] * 1000)}m",
        "requests.memory": f"{-(-int(total['memory']) // 1024**2)}Mi",
        "pods": str(int(total["pods"])),
    }
    if GPU in total:
        sizes[f"requests.{GPU}"] = str(int(total[GPU]))
    return sizes


def requests_in(settings: Settings, manifests: Sequence[Mapping[str, Any]], name: str, *, largest: bool) -> Amounts:
    """Returns the requests of the stack's pods in namespace `name`: at their largest size, or when they start."""
    total: Amounts = {"cpu": Decimal(0), "memory": Decimal(0), "pods": Decimal(0)}
    operator = operator_containers(settings, name)
    if operator:
        _add(total, {**_requests(operator), "pods": Decimal(1)}, settings.kuberay.replicas or 1)
    for cluster, manifest in zip(settings.clusters, manifests, strict=True):
        if cluster.namespace == name:
            _add(total, cluster_requests(manifest, largest=largest))
            if cluster.fault_tolerance and cluster.fault_tolerance.redis.in_cluster:
                _add(total, REDIS)
            if cluster.keeper:
                keeper = {"resources": container_resources(cluster.keeper)}
                _add(total, {**_requests([keeper]), "pods": Decimal(1)})
    return total


def cluster_requests(manifest: Mapping[str, Any], *, largest: bool) -> Amounts:
    """Returns the requests of a RayCluster's pods, sidecars included: with all its workers, or those that it starts
    with."""
    spec = manifest["spec"]
    total: Amounts = {"pods": Decimal(1)}
    sidecar = [spec["autoscalerOptions"]] if spec.get("enableInTreeAutoscaling") else []
    _add(total, _pod_requests(spec["headGroupSpec"]))
    _add(total, _requests(sidecar))
    for group in spec.get("workerGroupSpecs", []):
        count = group["maxReplicas"] if largest else max(group["minReplicas"], group.get("replicas", 0))
        count *= group.get("numOfHosts", 1)
        pod = _pod_requests(group)
        # Kubernetes counts the larger of the init container and the others.
        init = {resource: max(size, pod[resource]) for resource, size in INIT.items() if resource in pod}
        _add(total, {**pod, **init}, count)
        total["pods"] += count
    if spec.get("gcsFaultToleranceOptions"):
        _add(total, {**INIT, "pods": Decimal(1)})
    return total


def operator_containers(settings: Settings, name: str) -> list[Object]:
    """Returns the containers of the operator's pod, where the stack runs the operator in namespace `name`; else none.

    The operator's own container has its name and resources only.
    """
    kuberay = settings.kuberay
    if kuberay.operator != "own" or kuberay.namespace != name:
        return []
    resources = {
        "limits": {**UPSTREAM_SIZES, **kuberay.resources.limits_by_name},
        "requests": {**UPSTREAM_SIZES, **kuberay.resources.requests_by_name},
    }
    sidecars = [dict(each) for each in template_containers(kuberay.pod_template) if each.get("name") != OPERATOR]
    return [{"name": OPERATOR, "resources": resources}, *sidecars]


def _pod_requests(group: Mapping[str, Any]) -> Amounts:
    return _requests(group["template"]["spec"]["containers"])


def _requests(containers: Sequence[Mapping[str, Any]]) -> Amounts:
    total: Amounts = {}
    for container in containers:
        sizes = container.get("resources", {})
        # Without a request the limit counts.
        for resource, size in {**sizes.get("limits", {}), **sizes.get("requests", {})}.items():
            total[resource] = total.get(resource, Decimal(0)) + parse_quantity(str(size))
    return total


def _add(total: Amounts, more: Amounts, times: int = 1) -> None:
    for resource, size in more.items():
        total[resource] = total.get(resource, Decimal(0)) + size * times
