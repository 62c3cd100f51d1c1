"""The operator's own rules for a RayCluster, which the API server does not enforce.

The operator refuses a broken spec with an event and sets no condition: whoever waits for readiness waits until the
timeout. Most rules are in the settings already; these are asked of the finished manifest, escape hatches included.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from components.settings_pods import START_RESOURCES

Object = Mapping[str, Any]

# Spec fields that do nothing, or are refused, unless the operator runs with a feature gate that is off by default.
GATED = {
    "networkPolicy": "RayClusterNetworkPolicy",
    "tlsOptions": "RayClusterMTLS",
    "historyServerOptions": "RayClusterHistoryServer",
}
FAULT_TOLERANCE_ENV = ("REDIS_PASSWORD", "RAY_REDIS_ADDRESS")


def violations(manifest: Object, gates: frozenset[str] = frozenset()) -> list[str]:
    """What the operator, running with the feature gates `gates`, would refuse or get wrong; each with its field."""
    return [*_cluster(manifest, gates), *_head(manifest), *_groups(manifest)]


def _cluster(manifest: Object, gates: frozenset[str]) -> Iterator[str]:
    spec = manifest["spec"]
    for field, gate in GATED.items():
        if field in spec and gate not in gates:
            yield f"spec.{field}: needs the operator's gate; add --feature-gates={gate}=true to `kuberay.args`"
    if "upgradeStrategy" in spec and spec["upgradeStrategy"].get("type") not in ("Recreate", "None"):
        yield f"spec.upgradeStrategy.type: {spec['upgradeStrategy'].get('type')}; allowed: Recreate, None"
    if spec.get("gcsFaultToleranceOptions") and "ray.io/ft-enabled" in manifest["metadata"].get("annotations", {}):
        yield "metadata.annotations: ray.io/ft-enabled is set together with gcsFaultToleranceOptions; remove it"


def _head(manifest: Object) -> Iterator[str]:
    spec = manifest["spec"]
    head, where = spec["headGroupSpec"], "spec.headGroupSpec"
    yield from _group(head, where, _autoscales_v2(spec))
    names = _env_names(head)
    if "RAY_enable_autoscaler_v2" in names:
        yield f"{where}: env RAY_enable_autoscaler_v2 is set; allowed: `autoscaling.version` alone"
    tolerant = bool(spec.get("gcsFaultToleranceOptions"))
    for name in FAULT_TOLERANCE_ENV:
        if name in names and (tolerant or name == "RAY_REDIS_ADDRESS"):
            yield f"{where}: env {name} is set; allowed: `faultTolerance`, which says it in the operator's way"
    for param in ("redis-username", *(["redis-password"] if tolerant else [])):
        if param in head.get("rayStartParams", {}):
            yield f"{where}.rayStartParams.{param}: allowed: `faultTolerance`, which takes it from a Secret"
    ports = [port for container in _containers(head)[:1] for port in container.get("ports", [])]
    if ports and not any(port.get("name") == "dashboard" for port in ports):
        # The head service has exactly the ports that the container names; jobs are submitted at this one.
        yield f"{where}.template: no port named dashboard; allowed: the head's ports with one of that name"


def _groups(manifest: Object) -> Iterator[str]:
    spec = manifest["spec"]
    scaling = spec.get("enableInTreeAutoscaling", False)
    groups = spec.get("workerGroupSpecs", [])
    names = [group["groupName"] for group in groups]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"spec.workerGroupSpecs: {name} is there twice"
    for group in groups:
        where = f"spec.workerGroupSpecs[{group['groupName']}]"
        yield from _group(group, where, _autoscales_v2(spec))
        low, high = group.get("minReplicas"), group.get("maxReplicas")
        if low is not None and high is not None and not 0 <= low <= high:
            yield f"{where}: minReplicas {low}, maxReplicas {high}; allowed: 0 <= min <= max"
        if scaling and "replicas" in group:
            yield f"{where}.replicas: {group['replicas']}; the autoscaler sets it, leave it out"
        if not scaling and "replicas" not in group:
            yield f"{where}.replicas: missing; without the autoscaler an update would scale to zero"
        if group.get("suspend") and scaling:
            yield f"{where}.suspend: allowed only without the autoscaler"


def _group(group: Object, where: str, v2: bool) -> Iterator[str]:
    params = group.get("rayStartParams", {})
    containers = _containers(group)
    if not containers:
        yield f"{where}.template: no container"
        return
    doubled = [name for name in START_RESOURCES if name in params] if group.get("resources") else []
    if doubled:
        yield f"{where}.rayStartParams: {', '.join(doubled)} together with `resources`; keep one of the two"
    if "labels" in params:
        yield f"{where}.rayStartParams.labels: the operator refuses it; use the group's `labels`"
    policy = group["template"]["spec"].get("restartPolicy")
    if v2 and policy not in (None, "Never"):
        yield f"{where}.template: restartPolicy {policy}; allowed with the autoscaler v2: Never, or leave it out"
    sizes = containers[0].get("resources", {})
    figures = (
        group.get("resources", {}).get("CPU"),
        params.get("num-cpus"),
        sizes.get("limits", {}).get("cpu"),
        sizes.get("requests", {}).get("cpu"),
    )
    if not any(figure is not None for figure in figures):
        yield f"{where}: no CPU figure, without which the autoscaler crashes; set `cpu`"


def _containers(group: Object) -> Sequence[Object]:
    found: Sequence[Object] = group["template"]["spec"].get("containers", [])
    return found


def _env_names(group: Object) -> set[str]:
    return {entry["name"] for container in _containers(group)[:1] for entry in container.get("env", [])}


def _autoscales_v2(spec: Object) -> bool:
    return bool(spec.get("enableInTreeAutoscaling")) and spec.get("autoscalerOptions", {}).get("version") == "v2"
