"""ResourceQuota and LimitRange of a namespace, and whether the clusters in it fit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from components.settings.access import NamespaceSettings, Quota
from components.settings.fields import amount
from components.settings.load import Settings

Object = dict[str, Any]
Need = dict[str, Decimal]

NAME = "ray"
GPU = "nvidia.com/gpu"
# What the operator adds by itself: an init container in every worker, and one pod that cleans Redis at the end.
INIT = {"cpu": Decimal("0.2"), "memory": Decimal(256 * 1024**2)}
OPERATOR = {"cpu": "100m", "memory": "512Mi"}  # upstream's, unless the settings say otherwise


def _requests(containers: Sequence[Mapping[str, Any]]) -> Need:
    total: Need = {}
    for container in containers:
        sizes = container.get("resources", {})
        for kind, size in {**sizes.get("limits", {}), **sizes.get("requests", {})}.items():
            total[kind] = total.get(kind, Decimal(0)) + amount(str(size))
    return total


def _pod(group: Mapping[str, Any]) -> Need:
    return _requests(group["template"]["spec"]["containers"])


def need(manifest: Mapping[str, Any], largest: bool) -> Need:
    """What a RayCluster requests, autoscaler included: with all its workers (`largest`), or those it starts with."""
    spec = manifest["spec"]
    total: Need = {"pods": Decimal(1)}
    sidecar = [spec["autoscalerOptions"]] if spec.get("enableInTreeAutoscaling") else []
    _add(total, _pod(spec["headGroupSpec"]))
    _add(total, _requests(sidecar))
    for group in spec.get("workerGroupSpecs", []):
        count = group["maxReplicas"] if largest else max(group["minReplicas"], group.get("replicas", 0))
        count *= group.get("numOfHosts", 1)
        one = _pod(group)
        _add(total, {**one, **{kind: max(size, one[kind]) for kind, size in INIT.items() if kind in one}}, count)
        total["pods"] += count
    if spec.get("gcsFaultToleranceOptions"):
        _add(total, {**INIT, "pods": Decimal(1)})
    return total


def _add(total: Need, more: Need, times: int = 1) -> None:
    for kind, size in more.items():
        total[kind] = total.get(kind, Decimal(0)) + size * times


def _in_namespace(settings: Settings, manifests: Sequence[Mapping[str, Any]], name: str, largest: bool) -> Need:
    total: Need = {"cpu": Decimal(0), "memory": Decimal(0), "pods": Decimal(0)}
    operator = _operator(settings, name)
    if operator:
        _add(total, {**_requests([operator]), "pods": Decimal(1)})
    for cluster, manifest in zip(settings.clusters, manifests, strict=True):
        if cluster.namespace == name:
            _add(total, need(manifest, largest))
            if cluster.fault_tolerance and cluster.fault_tolerance.redis.in_cluster:
                _add(total, {"cpu": Decimal("0.05"), "memory": Decimal(256 * 1024**2), "pods": Decimal(1)})
    return total


def _operator(settings: Settings, name: str) -> Object | None:
    """The operator's container where the stack runs it in namespace `name`."""
    kuberay = settings.kuberay
    if kuberay.operator != "own" or kuberay.namespace != name:
        return None
    sizes = {**OPERATOR, **{kind: size for kind, size in kuberay.resources if size}}
    return {"resources": {"limits": sizes, "requests": sizes}}


def _hard(quota: Quota) -> dict[str, str]:
    sizes = {
        "requests.cpu": quota.cpu,
        "requests.memory": quota.memory,
        f"requests.{GPU}": None if quota.gpu is None else str(quota.gpu),
        "pods": None if quota.pods is None else str(quota.pods),
    }
    return {kind: size for kind, size in sizes.items() if size}


def _fitting(total: Need) -> dict[str, str]:
    sizes = {
        "requests.cpu": f"{math.ceil(total['cpu'] * 1000)}m",
        "requests.memory": f"{-(-int(total['memory']) // 1024**2)}Mi",
        "pods": str(int(total["pods"])),
    }
    if GPU in total:
        sizes[f"requests.{GPU}"] = str(int(total[GPU]))
    return sizes


def objects(settings: Settings, manifests: Sequence[Mapping[str, Any]], name: str) -> list[Object]:
    """The guards of namespace `name`."""
    wanted = settings.guards(name)
    metadata = {"name": NAME, "namespace": name}
    found: list[Object] = []
    if wanted.quota:
        fits = wanted.quota == "fit"
        hard = _fitting(_in_namespace(settings, manifests, name, True)) if fits else _hard(_quota(wanted))
        found.append({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": {"hard": hard}})
    if wanted.limits:
        sizes = {
            "default": wanted.limits.default,
            "defaultRequest": wanted.limits.default_request,
            "max": wanted.limits.max,
        }
        limit = {key: {k: v for k, v in one if v} for key, one in sizes.items() if one.cpu or one.memory}
        spec = {"limits": [{"type": "Container", **limit}]}
        found.append({"apiVersion": "v1", "kind": "LimitRange", "metadata": metadata, "spec": spec})
    return found


def _quota(wanted: NamespaceSettings) -> Quota:
    assert isinstance(wanted.quota, Quota)
    return wanted.quota


def problems(settings: Settings, manifests: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Guards that would keep the stack's own clusters from ever being ready."""
    for name, wanted in settings.namespaces.items():
        if isinstance(wanted.quota, Quota):
            least = _in_namespace(settings, manifests, name, False)
            for kind, size in _hard(wanted.quota).items():
                asked = least.get(kind.removeprefix("requests."), Decimal(0))
                if asked > amount(size):
                    yield (
                        f"namespaces.{name}.quota: {kind} {size} is less than what runs there starts with "
                        f"({_shown(kind, asked)}, sidecars included); allowed: more, or `quota: fit`"
                    )
        if wanted.limits:
            yield from _over_limit(settings, manifests, name, wanted)


def _over_limit(
    settings: Settings, manifests: Sequence[Mapping[str, Any]], name: str, wanted: NamespaceSettings
) -> Iterator[str]:
    assert wanted.limits is not None
    operator = _operator(settings, name)
    if operator:
        yield from _above(name, wanted, [("kuberay-operator", operator)])
    for cluster, manifest in zip(settings.clusters, manifests, strict=True):
        if cluster.namespace != name:
            continue
        spec = manifest["spec"]
        containers = [("autoscaler", spec["autoscalerOptions"])] if spec.get("enableInTreeAutoscaling") else []
        groups = [spec["headGroupSpec"], *spec.get("workerGroupSpecs", [])]
        containers += [(one["name"], one) for group in groups for one in group["template"]["spec"]["containers"]]
        yield from _above(name, wanted, [(f"{label} in {cluster.name}", container) for label, container in containers])


def _above(name: str, wanted: NamespaceSettings, containers: Sequence[tuple[str, Object]]) -> Iterator[str]:
    assert wanted.limits is not None
    for kind, most in wanted.limits.max:
        for label, container in containers:
            size = container.get("resources", {}).get("limits", {}).get(kind)
            if most and size and amount(str(size)) > amount(most):
                yield (
                    f"namespaces.{name}.limits.max.{kind}: {most} is less than the {size} of container {label}; "
                    f"allowed: {size} or more"
                )


def _shown(kind: str, size: Decimal) -> str:
    return f"{-(-int(size) // 1024**2)}Mi" if kind.endswith("memory") else f"{size.normalize():f}"
