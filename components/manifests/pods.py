"""Pod templates of a RayCluster; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from components.manifests.merge import deep_merge, drop_empty
from components.settings.env import EnvSource, SecretKey, in_order
from components.settings.pods import Pod
from components.settings.raycluster import RayClusterSettings
from components.settings.start_params import CLIENT_PORT, GCS_PORT
from jobs.target.contract import DASHBOARD_PORT

# Required by Pod Security `restricted`. The user is that of Ray's official images.
RESTRICTED_POD: dict[str, Any] = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
RESTRICTED_CONTAINER: dict[str, Any] = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
RAY_USER, RAY_GROUP = 1000, 100

HEAD_PORTS = (("gcs", GCS_PORT), ("dashboard", DASHBOARD_PORT), ("client", CLIENT_PORT))

# The volume that Kubernetes itself would mount into every container of a pod. This one can be mounted into one of them.
TOKEN_VOLUME: dict[str, Any] = {
    "name": "autoscaler-token",
    "projected": {
        "sources": [
            {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
        ]
    },
}
TOKEN_MOUNT: dict[str, Any] = {
    "name": TOKEN_VOLUME["name"],
    "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
    "readOnly": True,
}


def resources(pod: Pod) -> dict[str, Any]:
    """Returns limits, and requests that equal them unless the settings differ.

    CPU and memory are always set: without a figure the autoscaler cannot count a group.
    """
    limits: dict[str, Any] = {"cpu": pod.cpu, "memory": pod.memory}
    requests = {"cpu": pod.requests.cpu or pod.cpu, "memory": pod.requests.memory or pod.memory}
    if pod.ephemeral_storage:
        limits["ephemeral-storage"] = requests["ephemeral-storage"] = pod.ephemeral_storage
    if pod.gpu:
        limits[pod.gpu_resource] = requests[pod.gpu_resource] = str(pod.gpu)
    return {"limits": limits, "requests": requests}


def env_list(env: Mapping[str, str | SecretKey | EnvSource]) -> list[dict[str, Any]]:
    """Returns environment variables in the form of a container."""
    return [{"name": name, **_env_value(value)} for name, value in env.items()]


def _env_value(value: str | SecretKey | EnvSource) -> dict[str, Any]:
    if isinstance(value, SecretKey):
        return {"valueFrom": {"secretKeyRef": {"name": value.secret, "key": value.key}}}
    return {"valueFrom": value.value_from} if isinstance(value, EnvSource) else {"value": value}


def with_env_in_order(template: dict[str, Any]) -> dict[str, Any]:
    """Returns a pod template in which the merged `env` of each container has an order that Kubernetes expands."""
    spec = template.get("spec") or {}
    containers = spec.get("containers")
    if not isinstance(containers, list):
        return template
    return {**template, "spec": {**spec, "containers": [_with_env_in_order(container) for container in containers]}}


def _with_env_in_order(container: dict[str, Any]) -> dict[str, Any]:
    entries = container.get("env") if isinstance(container, Mapping) else None
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        return container  # the schema refuses it
    by_name = {str(entry.get("name")): entry for entry in entries}
    if len(by_name) < len(entries):
        return container  # then the order of equal names has a meaning
    try:
        order = in_order({name: entry.get("value") for name, entry in by_name.items()})
    except ValueError:
        return container  # a circle of the template's own: Kubernetes leaves it as it is
    return {**container, "env": [by_name[name] for name in order]}


def template(
    cluster: RayClusterSettings,
    pod: Pod,
    container: str,
    *,
    ports: tuple[tuple[str, int], ...] = (),
    volumes: Sequence[dict[str, Any]] = (),
    mount_token: bool = False,
    env: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Builds the pod template of a group.

    Args:
        cluster: settings of the cluster.
        pod: settings of the head or of a worker group.
        container: name of the Ray container, which KubeRay expects first.
        ports: name and number of its ports.
        volumes: added to those of the settings.
        mount_token: whether every container gets the token of the ServiceAccount.
        env: environment of the Ray container; that of the settings wins.
        annotations: annotations of the pod; those of the settings win.
    """
    restricted = cluster.pod_security == "restricted"
    user = {**RESTRICTED_POD, "runAsUser": RAY_USER, "runAsGroup": RAY_GROUP} if restricted else {}
    account = cluster.service_account_name if cluster.service_account.create else None
    ray = {
        "name": container,
        "image": cluster.image,
        "imagePullPolicy": cluster.image_pull_policy,
        "ports": [{"name": name, "containerPort": port} for name, port in ports],
        "resources": resources(pod),
        "env": env_list({**(env or {}), **pod.env}),
        "envFrom": [{"secretRef": {"name": name}} for name in pod.env_from_secrets],
        "volumeMounts": pod.volume_mounts,
        "securityContext": deep_merge(RESTRICTED_CONTAINER if restricted else {}, pod.security_context),
    }
    spec = {
        "containers": [drop_empty(ray)],
        "volumes": [*pod.volumes, *volumes],
        "nodeSelector": pod.node_selector,
        "tolerations": pod.tolerations,
        "affinity": pod.affinity,
        "topologySpreadConstraints": pod.topology_spread_constraints,
        "priorityClassName": pod.priority_class_name,
        "serviceAccountName": pod.service_account_name or account,
        "automountServiceAccountToken": mount_token,
        "imagePullSecrets": [{"name": name} for name in pod.image_pull_secrets],
        "securityContext": deep_merge(user, pod.pod_security_context),
    }
    metadata = drop_empty({"labels": pod.labels, "annotations": {**(annotations or {}), **pod.annotations}})
    result: dict[str, Any] = deep_merge(drop_empty({"metadata": metadata, "spec": drop_empty(spec)}), pod.pod_template)
    return with_env_in_order(result)
