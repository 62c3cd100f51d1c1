"""The operator's own rules for a RayCluster (KubeRay's utils/validation.go), which the API server does not check; pure.

The operator refuses a broken spec with an event and sets no condition, so `up` would wait until its timeout. The
settings check most rules. These read the finished manifest, so that they also see `spec` and `podTemplate`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from components.manifests.pods import HEAD_PORTS as HEAD_PORT_LIST
from components.settings import start_params
from components.settings.fields import label_key_problem, label_value_problem
from components.settings.pods import START_RESOURCES
from components.settings.versions import at_least
from jobs.kubernetes.quantities import parse_quantity

Object = Mapping[str, Any]

# Fields that the operator ignores or refuses without a feature gate, which is off by default.
GATED = {
    "networkPolicy": "RayClusterNetworkPolicy",
    "tlsOptions": "RayClusterMTLS",
    "historyServerOptions": "RayClusterHistoryServer",
}
EMBEDDED_STORAGE = "GCSFaultToleranceEmbeddedStorage"
HEAD_PORTS = {**dict(HEAD_PORT_LIST), "metrics": start_params.METRICS_PORT}
GATES = frozenset({*GATED.values(), EMBEDDED_STORAGE})
FAULT_TOLERANCE_ENV = ("REDIS_PASSWORD", "REDIS_USERNAME", "RAY_REDIS_ADDRESS")
STANDARD_RESOURCES = {"cpu": "CPU", "gpu": "GPU", "memory": "memory"}
KUBERNETES_TOKEN_RAY = "2.55.0"


def violations(manifest: Object, gates: frozenset[str] = frozenset()) -> list[str]:
    """Returns each setting that the operator would refuse or misread, with its field.

    Args:
        manifest: the finished RayCluster.
        gates: names of the operator's feature gates that are on.
    """
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
        if not at_least(spec["rayVersion"], KUBERNETES_TOKEN_RAY):
            yield f"spec.authOptions.enableK8sTokenAuth: needs Ray {KUBERNETES_TOKEN_RAY}, this is {spec['rayVersion']}"
    options = spec.get("autoscalerOptions") or {}
    if any(entry["name"] == "KUBERAY_GEN_AUTOSCALER_START_CMD" for entry in options.get("env", [])):
        yield "spec.autoscalerOptions.env: KUBERAY_GEN_AUTOSCALER_START_CMD belongs to the operator; remove it"
    yield from _sizes("spec.autoscalerOptions", options)


def _fault_tolerance(manifest: Object, gates: frozenset[str]) -> Iterator[str]:
    options = manifest["spec"].get("gcsFaultToleranceOptions")
    if not options:
        return
    for name in ("ray.io/ft-enabled", "ray.io/external-storage-namespace"):
        if name in manifest["metadata"].get("annotations", {}):
            yield f"metadata.annotations: {name} conflicts with the setting `faultTolerance`; remove one of them"
    if options.get("backend") == "rocksdb":
        if EMBEDDED_STORAGE not in gates:
            gate = f"add --feature-gates={EMBEDDED_STORAGE}=true to `kuberay.args`"
            yield f"spec.gcsFaultToleranceOptions.backend: rocksdb needs the operator's gate; {gate}"
        if "redisAddress" in options:
            yield "spec.gcsFaultToleranceOptions.backend: rocksdb together with a Redis; remove `faultTolerance`"


def _head(manifest: Object) -> Iterator[str]:
    spec = manifest["spec"]
    head, path = spec["headGroupSpec"], "spec.headGroupSpec"
    yield from _group(head, path, spec, head=True)
    variables = _env_names(head)
    if "RAY_enable_autoscaler_v2" in variables:
        yield f"{path}: env RAY_enable_autoscaler_v2 is set; allowed: only the setting `autoscaling.version`"
    tolerant = bool(spec.get("gcsFaultToleranceOptions"))
    for name in FAULT_TOLERANCE_ENV:
        if name in variables and (tolerant or name != "REDIS_PASSWORD"):
            yield f"{path}: env {name} is set; allowed: the setting `faultTolerance`"
    for param in ("redis-username", *(["redis-password"] if tolerant else [])):
        if param in head.get("rayStartParams", {}):
            yield f"{path}.rayStartParams.{param}: allowed: the setting `faultTolerance`, which reads it from a Secret"
    ports = [port for container in _containers(head)[:1] for port in container.get("ports", [])]
    if ports and not any(port.get("name") == "dashboard" for port in ports):
        # The head's Service has exactly the ports that the container lists. Jobs are submitted to this one.
        yield f"{path}.template: the first container lists ports, but none named dashboard; add it"
    for port in ports:
        expected = HEAD_PORTS.get(port.get("name"))
        if expected and port["containerPort"] != expected:
            text = f"{port['containerPort']}: Ray and the outputs have another number; allowed: {expected}"
            yield f"{path}.template: port {port['name']} of the first container: {text}"
    service = (head.get("headService") or {}).get("metadata") or {}
    name = f"{manifest['metadata']['name']}-head-svc"
    if service.get("name", name) != name:
        text = f"{service['name']}: the Ingress and the outputs lead to another name; allowed: {name}, or none"
        yield f"{path}.headService.metadata.name: {text}"


def _groups(manifest: Object) -> Iterator[str]:
    spec = manifest["spec"]
    scaling = spec.get("enableInTreeAutoscaling", False)
    groups = spec.get("workerGroupSpecs", [])
    names = [group["groupName"] for group in groups]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"spec.workerGroupSpecs: {name} is listed twice"
    for group in groups:
        path = f"spec.workerGroupSpecs[{group['groupName']}]"
        yield from _group(group, path, spec, head=False)
        low, high = group.get("minReplicas"), group.get("maxReplicas")
        if low is not None and high is not None and not 0 <= low <= high:
            yield f"{path}: minReplicas {low}, maxReplicas {high}; allowed: 0 <= min <= max"
        if scaling and "replicas" in group:
            yield f"{path}.replicas: {group['replicas']}; the autoscaler sets it; remove it"
        if not scaling and "replicas" not in group:
            yield f"{path}.replicas: missing; without the autoscaler an update would scale to zero"
        if group.get("suspend") and scaling:
            yield f"{path}.suspend: not allowed with the autoscaler; remove it"


def _group(group: Object, path: str, spec: Object, *, head: bool) -> Iterator[str]:
    params = group.get("rayStartParams", {})
    scaling = bool(spec.get("enableInTreeAutoscaling"))
    for name, problem in start_params.problems(params, head=head, ray_version=spec["rayVersion"], autoscaling=scaling):
        yield f"{path}.rayStartParams.{name}: {problem}"
    containers = _containers(group)
    if not containers:
        yield f"{path}.template: no container; allowed: at least one"
        return
    repeated = [name for name in START_RESOURCES if name in params] if group.get("resources") else []
    if repeated:
        yield f"{path}.rayStartParams: {', '.join(repeated)} set together with `resources`; keep one of them"
    for name, size in group.get("resources", {}).items():
        # The operator drops a value that is no quantity, and reads `cpu` as CPUs. The autoscaler does neither.
        expected = STANDARD_RESOURCES.get(name.lower(), name)
        if name != expected:
            yield f"{path}.resources.{name}: the autoscaler reads it as a resource of your own; allowed: {expected}"
        try:
            parse_quantity(str(size))
        except ValueError as error:
            yield f"{path}.resources.{name}: {size}: {error}"
    if "labels" in params:
        yield f"{path}.rayStartParams.labels: the operator refuses it; allowed: the group's `labels`"
    for key, value in group.get("labels", {}).items():
        for text in (label_key_problem(key), label_value_problem(value)):
            if text:
                yield f"{path}.labels: {key}: {value}: {text}"
    for container in containers:
        yield from _sizes(f"{path}: container {container['name']}", container)
    policy = _pod(group).get("restartPolicy")
    if _autoscales_v2(spec) and policy not in (None, "Never"):
        yield f"{path}.template: restartPolicy {policy}; allowed with the autoscaler v2: Never, or none"
    sizes = containers[0].get("resources", {})
    store, limit = params.get("object-store-memory", ""), sizes.get("limits", {}).get("memory")
    if store.isdecimal() and limit and "plasma-directory" not in params and int(store) > _bytes(limit):
        # /dev/shm has the size of the limit too, and the container's memory holds it.
        yield f"{path}.rayStartParams.object-store-memory: {store}: above the memory limit; allowed: less than {limit}"
    figures = (
        group.get("resources", {}).get("CPU"),
        params.get("num-cpus"),
        sizes.get("limits", {}).get("cpu"),
        sizes.get("requests", {}).get("cpu"),
    )
    if not any(figure is not None for figure in figures):
        yield f"{path}: no CPU figure, and the autoscaler crashes without one; set `cpu`"


def _sizes(path: str, container: Object) -> Iterator[str]:
    """Returns invalid quantities, and requests above limits. The API server refuses the pods for them, not the
    RayCluster."""
    sizes: dict[tuple[str, str], Decimal] = {}
    for field in ("limits", "requests"):
        for kind, size in container.get("resources", {}).get(field, {}).items():
            try:
                sizes[field, kind] = parse_quantity(str(size))
            except ValueError as error:
                yield f"{path}: resources.{field}.{kind}: {size}: {error}"
    for (field, kind), size in sizes.items():
        if field == "requests" and size > sizes.get(("limits", kind), size):
            limit = container["resources"]["limits"][kind]
            yield f"{path}: resources.requests.{kind}: above the limit; allowed: up to {limit}"


def _bytes(size: Any) -> Decimal:
    try:
        return parse_quantity(str(size))
    except ValueError:
        return Decimal("Infinity")  # reported by _sizes


def _pod(group: Object) -> Object:
    return group["template"].get("spec") or {}


def _containers(group: Object) -> Sequence[Object]:
    containers: Sequence[Object] = _pod(group).get("containers", [])
    return containers


def _env_names(group: Object) -> set[str]:
    return {entry["name"] for container in _containers(group)[:1] for entry in container.get("env", [])}


def _autoscales_v2(spec: Object) -> bool:
    return bool(spec.get("enableInTreeAutoscaling")) and spec.get("autoscalerOptions", {}).get("version") == "v2"
