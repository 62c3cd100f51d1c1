"""What a finished RayCluster may not be, whichever setting, override or escape hatch made it so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from components.settings.raycluster import Cluster
from components.settings.versions import is_moving

Object = Mapping[str, Any]

# The operator leaves them as they are where they are set: token authentication would be off, or its token in clear.
AUTH_ENV = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
AUTOSCALER = "autoscaler"
# Pod Security `restricted`.
HOST = ("hostNetwork", "hostPID", "hostIPC")
VOLUMES = ("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret")
SECCOMP = ("RuntimeDefault", "Localhost")


def violations(cluster: Cluster, manifest: Object) -> list[str]:
    """What would open the cluster, let its pods differ, or keep them out of a restricted namespace; with its field."""
    found = [*_exposed(manifest["spec"])]
    for where, container in _containers(manifest["spec"]):
        found += [
            f"{where}: env {entry['name']} is set; allowed: `auth` alone"
            for entry in container.get("env", [])
            if entry["name"] in AUTH_ENV
        ]
        if container.get("image") and is_moving(container["image"]) and "moving-tag" not in cluster.allow:
            found.append(
                f"{where}: image {container['image']}: its tag moves, pods of one cluster would differ; "
                "allowed: a version or digest, or `allow: [moving-tag]`"
            )
    return [*found, *(_unrestricted(manifest["spec"]) if cluster.pod_security else [])]


def _exposed(spec: Object) -> Iterator[str]:
    if (spec.get("authOptions") or {}).get("mode") == "token":
        return
    head, where = spec["headGroupSpec"], "spec.headGroupSpec"
    service = head.get("headService", {}).get("spec", {}).get("type")
    for field, kind in (("serviceType", head.get("serviceType")), ("headService.spec.type", service)):
        if kind not in (None, "ClusterIP"):
            yield f"{where}.{field}: {kind} opens the cluster to whoever reaches it; allowed: with `auth: token` alone"
    if head.get("enableIngress"):
        yield f"{where}.enableIngress: opens the cluster to whoever reaches it; allowed: with `auth: token` alone"


def _unrestricted(spec: Object) -> Iterator[str]:
    contexts = {}
    for where, pod in _pods(spec):
        contexts[where] = pod.get("securityContext", {})
        yield from (f"{where}.{field}: not with `podSecurity: restricted`" for field in HOST if pod.get(field))
        kinds = sorted({kind for volume in pod.get("volumes", []) for kind in volume} - {"name", *VOLUMES})
        if kinds:
            allowed = ", ".join(VOLUMES)
            yield f"{where}.volumes: {', '.join(kinds)}; allowed with `podSecurity: restricted`: {allowed}"
    for where, container in _containers(spec):
        context = {**contexts.get(where.rpartition(".")[0], {}), **container.get("securityContext", {})}
        wrong = [name for name, fine in _restricted(container, context) if not fine]
        if wrong:
            yield f"{where}: not with `podSecurity: restricted`; needed: {', '.join(wrong)}"


def _restricted(container: Object, context: Object) -> list[tuple[str, bool]]:
    """What the level asks of a container, and whether it is so; `context`: with what it has from its pod."""
    capabilities = context.get("capabilities", {})
    checks = [
        ("no privileged", not context.get("privileged")),
        ("allowPrivilegeEscalation: false", context.get("allowPrivilegeEscalation") is False),
        ("capabilities.drop: [ALL]", "ALL" in capabilities.get("drop", [])),
        ("no capabilities.add but NET_BIND_SERVICE", set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"}),
        ("no hostPort", not any(port.get("hostPort") for port in container.get("ports", []))),
    ]
    if container.get("name") == AUTOSCALER:
        return checks  # the operator puts it into the head's pod, whose user and profile it has
    return [
        *checks,
        ("runAsNonRoot: true", context.get("runAsNonRoot") is True),
        ("runAsUser other than 0", context.get("runAsUser") != 0),
        ("seccompProfile RuntimeDefault", context.get("seccompProfile", {}).get("type") in SECCOMP),
    ]


def _groups(spec: Object) -> list[tuple[str, Object]]:
    workers = [(f"spec.workerGroupSpecs[{group['groupName']}]", group) for group in spec.get("workerGroupSpecs") or []]
    return [("spec.headGroupSpec", spec["headGroupSpec"]), *workers]


def _pods(spec: Object) -> list[tuple[str, Object]]:
    return [(f"{where}.template.spec", group["template"].get("spec") or {}) for where, group in _groups(spec)]


def _containers(spec: Object) -> list[tuple[str, Object]]:
    """Every container with where it is, the autoscaler's as well."""
    found = []
    for where, pod in _pods(spec):
        for kind in ("initContainers", "containers"):
            found += [(f"{where}.{kind}[{one['name']}]", one) for one in pod.get(kind, [])]
    options = spec.get("autoscalerOptions")
    return [*found, ("spec.autoscalerOptions", {**options, "name": AUTOSCALER})] if options else found
