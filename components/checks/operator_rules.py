"""The operator's own rules for a RayCluster, which the API server does not enforce.

The operator refuses a broken spec with an event and sets no condition: whoever waits for readiness waits until the
timeout. Most rules are in the settings already; these are asked of the finished manifest, escape hatches included.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from components.settings import fields as model
from components.settings.pods import START_RESOURCES
from components.settings.versions import at_least

Object = Mapping[str, Any]

# Spec fields that do nothing, or are refused, unless the operator runs with a feature gate that is off by default.
GATED = {
    "networkPolicy": "RayClusterNetworkPolicy",
    "tlsOptions": "RayClusterMTLS",
    "historyServerOptions": "RayClusterHistoryServer",
}
EMBEDDED = "GCSFaultToleranceEmbeddedStorage"
GATES = frozenset({*GATED.values(), EMBEDDED})
FAULT_TOLERANCE_ENV = ("REDIS_PASSWORD", "REDIS_USERNAME", "RAY_REDIS_ADDRESS")
K8S_TOKEN_RAY = "2.55.0"


def violations(manifest: Object, gates: frozenset[str] = frozenset()) -> list[str]:
    """What the operator, running with the feature gates `gates`, would refuse or get wrong; each with its field."""
    return [*_cluster(manifest, gates), *_head(manifest), *_groups(manifest)]


def _cluster(manifest: Object, gates: frozenset[str]) -> Iterator[str]:
    spec = manifest["spec"]
    for field, gate in GATED.items():
        if field in spec and gate not in gates:
            yield f"spec.{field}: needs the operator's gate; add --feature-gates={gate}=true to `kuberay.args`"
    yield from _fault_tolerance(manifest, gates)
    auth = spec.get("authOptions") or {}
    if auth.get("enableK8sTokenAuth"):
        if auth.get("mode") != "token" or auth.get("secretName"):
            yield "spec.authOptions.enableK8sTokenAuth: allowed with `auth: token` and without `auth.secretName`"
        if not at_least(spec["rayVersion"], K8S_TOKEN_RAY):
            yield f"spec.authOptions.enableK8sTokenAuth: needs Ray {K8S_TOKEN_RAY}, this is {spec['rayVersion']}"
    options = spec.get("autoscalerOptions") or {}
    if any(entry["name"] == "KUBERAY_GEN_AUTOSCALER_START_CMD" for entry in options.get("env", [])):
        yield "spec.autoscalerOptions.env: KUBERAY_GEN_AUTOSCALER_START_CMD is the operator's own; remove it"
    yield from _sizes("spec.autoscalerOptions", options)


def _fault_tolerance(manifest: Object, gates: frozenset[str]) -> Iterator[str]:
    options = manifest["spec"].get("gcsFaultToleranceOptions")
    if not options:
        return
    for name in ("ray.io/ft-enabled", "ray.io/external-storage-namespace"):
        if name in manifest["metadata"].get("annotations", {}):
            yield f"metadata.annotations: {name} is set together with fault tolerance; use `faultTolerance` alone"
    if options.get("backend") == "rocksdb":
        if EMBEDDED not in gates:
            gate = f"add --feature-gates={EMBEDDED}=true to `kuberay.args`"
            yield f"spec.gcsFaultToleranceOptions.backend: rocksdb needs the operator's gate; {gate}"
        if "redisAddress" in options:
            yield "spec.gcsFaultToleranceOptions.backend: rocksdb together with a Redis; remove `faultTolerance`"


def _head(manifest: Object) -> Iterator[str]:
    spec = manifest["spec"]
    head, where = spec["headGroupSpec"], "spec.headGroupSpec"
    yield from _group(head, where, _autoscales_v2(spec))
    names = _env_names(head)
    if "RAY_enable_autoscaler_v2" in names:
        yield f"{where}: env RAY_enable_autoscaler_v2 is set; allowed: `autoscaling.version` alone"
    tolerant = bool(spec.get("gcsFaultToleranceOptions"))
    for name in FAULT_TOLERANCE_ENV:
        if name in names and (tolerant or name != "REDIS_PASSWORD"):
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
    for key, value in group.get("labels", {}).items():
        for text in (model.label_key_problem(key), model.label_value_problem(value)):
            if text:
                yield f"{where}.labels: {key}: {value}: {text}"
    for container in containers:
        yield from _sizes(f"{where}: container {container['name']}", container)
    policy = _pod(group).get("restartPolicy")
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


def _sizes(where: str, container: Object) -> Iterator[str]:
    """Quantities that are none, and requests above limits: the API server refuses pods for it, not the RayCluster."""
    sizes: dict[tuple[str, str], Decimal] = {}
    for field in ("limits", "requests"):
        for kind, size in container.get("resources", {}).get(field, {}).items():
            try:
                sizes[field, kind] = model.amount(str(size))
            except ValueError as error:
                yield f"{where}: resources.{field}.{kind}: {size}: {error}"
    for (field, kind), size in sizes.items():
        if field == "requests" and size > sizes.get(("limits", kind), size):
            limit = container["resources"]["limits"][kind]
            yield f"{where}: resources.requests.{kind}: above the limit; allowed: up to {limit}"


def _pod(group: Object) -> Object:
    return group["template"].get("spec") or {}


def _containers(group: Object) -> Sequence[Object]:
    found: Sequence[Object] = _pod(group).get("containers", [])
    return found


def _env_names(group: Object) -> set[str]:
    return {entry["name"] for container in _containers(group)[:1] for entry in container.get("env", [])}


def _autoscales_v2(spec: Object) -> bool:
    return bool(spec.get("enableInTreeAutoscaling")) and spec.get("autoscalerOptions", {}).get("version") == "v2"
