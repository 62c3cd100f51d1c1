"""What a finished RayCluster must not have: an open port, an old or moving image, an unrestricted pod; pure.

It reads the manifest, so that it also sees what `spec` and `podTemplate` of the settings have changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from components.settings.access import public_ranges
from components.settings.raycluster import RayClusterSettings
from components.settings.versions import (
    SAFE_RAY,
    TOKEN_AUTH_RAY,
    at_least,
    is_moving,
    is_official,
    ray_version_of_image,
)

Object = Mapping[str, Any]

# The operator does not overwrite these. They would switch token authentication off, or hold the token in clear text.
AUTH_ENV = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
AUTOSCALER = "autoscaler"
RAY_IMAGES = ("ray", "ray-ml", "ray-llm")
# Pod Security `restricted`: https://kubernetes.io/docs/concepts/security/pod-security-standards/
HOST_FIELDS = ("hostNetwork", "hostPID", "hostIPC")
VOLUMES = ("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret")
SECCOMP_PROFILES = ("RuntimeDefault", "Localhost")


def violations(cluster: RayClusterSettings, manifest: Object) -> list[str]:
    """Each violation with its field.

    Args:
        cluster: settings, for the exceptions in `allow` and for `podSecurity`.
        manifest: the finished RayCluster.
    """
    spec = manifest["spec"]
    problems = [*_open_without_token(spec), *_open_in_clear_text(cluster, spec), *_old_ray(cluster, spec)]
    for path, container in _containers(spec):
        problems += [
            f"{path}: env {entry['name']} is set; allowed: only the setting `auth`"
            for entry in container.get("env", [])
            if entry["name"] in AUTH_ENV
        ]
        if container.get("image") and is_moving(container["image"]) and "moving-tag" not in cluster.allow:
            problems.append(
                f"{path}: image {container['image']}: its tag moves, so pods of one cluster could differ; "
                "allowed: a version or digest, or `allow: [moving-tag]`"
            )
    return [*problems, *(_unrestricted(spec) if cluster.pod_security else [])]


def _has_token(spec: Object) -> bool:
    return (spec.get("authOptions") or {}).get("mode") == "token"


def _service(head: Object) -> Object:
    """The spec of the head's Service, as far as the RayCluster states it."""
    spec: Object = (head.get("headService") or {}).get("spec") or {}
    return spec


def _open_without_token(spec: Object) -> Iterator[str]:
    if _has_token(spec):
        return
    head, path = spec["headGroupSpec"], "spec.headGroupSpec"
    opens = "opens the cluster to everyone who can connect; allowed: only with `auth: token`"
    service = _service(head)
    for field, kind in (("serviceType", head.get("serviceType")), ("headService.spec.type", service.get("type"))):
        if kind not in (None, "ClusterIP"):
            yield f"{path}.{field}: {kind} {opens}"
    if service.get("externalIPs"):
        yield f"{path}.headService.spec.externalIPs: {opens}"
    if head.get("enableIngress"):
        yield f"{path}.enableIngress: {opens}"
    # Worker pods too: the agent on each node has a Jobs API. All containers of a pod share its ports.
    for pod_path, pod in _pods(spec):
        if pod.get("hostNetwork"):
            yield f"{pod_path}.hostNetwork: {opens}"
    for container_path, container in _containers(spec):
        for port in container.get("ports", []):
            if port.get("hostPort"):
                yield f"{container_path}: hostPort {port['hostPort']} {opens}"


def _open_in_clear_text(cluster: RayClusterSettings, spec: Object) -> Iterator[str]:
    """Ways from everywhere without TLS: the token can be read there."""
    policy = cluster.network_policy
    if not _has_token(spec) or "open-network" in cluster.allow:
        return
    head, path = spec["headGroupSpec"], "spec.headGroupSpec"
    service = _service(head)
    balanced = "LoadBalancer" in (head.get("serviceType"), service.get("type"))
    # With a NetworkPolicy only the peers that the settings name can connect.
    if balanced and not policy.enabled and not _limits(service.get("loadBalancerSourceRanges")):
        yield (
            f"{path}.headService: a load balancer without TLS for everyone; allowed: the setting `loadBalancer` with "
            "`sourceRanges`, `ingress`, or `allow: [open-network]`"
        )
    if head.get("enableIngress") and (not policy.enabled or policy.allow_from):
        yield f"{path}.enableIngress: has no TLS; allowed: the setting `ingress`, or `allow: [open-network]`"


def _limits(ranges: list[str] | None) -> bool:
    try:
        return bool(ranges) and not public_ranges(ranges or [])
    except ValueError:
        return False  # not a range


def _old_ray(cluster: RayClusterSettings, spec: Object) -> Iterator[str]:
    """Containers whose image has an older Ray than `rayVersion`: the token and the fixes would be missing there."""
    for path, container in _ray_containers(spec):
        image = container.get("image") or ""
        version = ray_version_of_image(image)
        own = image == cluster.image and not is_official(image)
        if version is None or (own and cluster.ray_version_setting):
            continue  # `rayVersion` states the version, and the settings have checked it
        hint = "name an image with a version of its own by its digest only"
        if _has_token(spec) and not at_least(version, TOKEN_AUTH_RAY):
            yield (
                f"{path}: image {image}: its tag states Ray {version}, which has no token authentication, so its Jobs "
                f"API would be open; allowed: {TOKEN_AUTH_RAY} or newer ({hint})"
            )
        elif not at_least(version, SAFE_RAY) and "old-ray" not in cluster.allow:
            yield (
                f"{path}: image {image}: its tag states Ray {version}, older than {SAFE_RAY}; allowed: {SAFE_RAY} or "
                f"newer ({hint}), or `allow: [old-ray]`"
            )


def _unrestricted(spec: Object) -> Iterator[str]:
    pod_contexts = {}
    for path, pod in _pods(spec):
        pod_contexts[path] = pod.get("securityContext", {})
        for field in HOST_FIELDS:
            if pod.get(field):
                yield f"{path}.{field}: not allowed with `podSecurity: restricted`"
        kinds = sorted({kind for volume in pod.get("volumes", []) for kind in volume} - {"name", *VOLUMES})
        if kinds:
            yield f"{path}.volumes: {', '.join(kinds)}; allowed with `podSecurity: restricted`: {', '.join(VOLUMES)}"
    for path, container in _containers(spec):
        context = {**pod_contexts.get(path.rpartition(".")[0], {}), **container.get("securityContext", {})}
        missing = [name for name, fulfilled in _restricted_rules(container, context) if not fulfilled]
        if missing:
            yield f"{path}: not allowed with `podSecurity: restricted`; it requires: {', '.join(missing)}"


def _restricted_rules(container: Object, context: Object) -> list[tuple[str, bool]]:
    """The rules of the level for a container, each with whether it is fulfilled; `context` includes the pod's."""
    capabilities = context.get("capabilities", {})
    rules = [
        ("no privileged", not context.get("privileged")),
        ("allowPrivilegeEscalation: false", context.get("allowPrivilegeEscalation") is False),
        ("capabilities.drop: [ALL]", "ALL" in capabilities.get("drop", [])),
        ("no capabilities.add except NET_BIND_SERVICE", set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"}),
        ("no hostPort", not any(port.get("hostPort") for port in container.get("ports", []))),
    ]
    if container.get("name") == AUTOSCALER:
        return rules  # the operator adds it to the head's pod, and it has that pod's user and profile
    return [
        *rules,
        ("runAsNonRoot: true", context.get("runAsNonRoot") is True),
        ("runAsUser other than 0", context.get("runAsUser") != 0),
        ("seccompProfile RuntimeDefault", context.get("seccompProfile", {}).get("type") in SECCOMP_PROFILES),
    ]


def _groups(spec: Object) -> list[tuple[str, Object]]:
    workers = [(f"spec.workerGroupSpecs[{group['groupName']}]", group) for group in spec.get("workerGroupSpecs") or []]
    return [("spec.headGroupSpec", spec["headGroupSpec"]), *workers]


def _pods(spec: Object) -> list[tuple[str, Object]]:
    return [(f"{path}.template.spec", group["template"].get("spec") or {}) for path, group in _groups(spec)]


def _containers(spec: Object) -> list[tuple[str, Object]]:
    """Every container with its path, the autoscaler's too."""
    containers = [
        (f"{path}.{field}[{container['name']}]", container)
        for path, pod in _pods(spec)
        for field in ("initContainers", "containers")
        for container in pod.get(field, [])
    ]
    options = spec.get("autoscalerOptions")
    return [*containers, ("spec.autoscalerOptions", {**options, "name": AUTOSCALER})] if options else containers


def _ray_containers(spec: Object) -> list[tuple[str, Object]]:
    """The containers that run Ray: the first of each pod, the autoscaler's, and others with an image of Ray."""
    first = {f"{path}.containers[{pod['containers'][0]['name']}]" for path, pod in _pods(spec) if pod.get("containers")}
    return [
        (path, container)
        for path, container in _containers(spec)
        if path in first or container["name"] == AUTOSCALER or _repository(container.get("image") or "") in RAY_IMAGES
    ]


def _repository(image: str) -> str:
    """The last part of an image's name, without tag and digest."""
    return image.split("@")[0].rsplit("/", 1)[-1].split(":")[0]
