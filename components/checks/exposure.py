"""What a finished RayCluster must not have: an open port without a token, a moving image, an unrestricted pod; pure.

It reads the manifest, so that it also sees what `spec` and `podTemplate` of the settings have changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from components.settings.raycluster import RayClusterSettings
from components.settings.versions import is_moving

Object = Mapping[str, Any]

# The operator does not overwrite these. They would switch token authentication off, or hold the token in clear text.
AUTH_ENV = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
AUTOSCALER = "autoscaler"
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
    problems = [*_open_without_token(spec)]
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


def _open_without_token(spec: Object) -> Iterator[str]:
    if (spec.get("authOptions") or {}).get("mode") == "token":
        return
    head, path = spec["headGroupSpec"], "spec.headGroupSpec"
    opens = "opens the cluster to everyone who can connect; allowed: only with `auth: token`"
    service = head.get("headService", {}).get("spec", {}).get("type")
    for field, kind in (("serviceType", head.get("serviceType")), ("headService.spec.type", service)):
        if kind not in (None, "ClusterIP"):
            yield f"{path}.{field}: {kind} {opens}"
    if head.get("enableIngress"):
        yield f"{path}.enableIngress: {opens}"


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
