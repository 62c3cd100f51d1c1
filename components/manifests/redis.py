"""GCS fault tolerance: options of the RayCluster, and a Redis beside it for trial; pure."""

from __future__ import annotations

from typing import Any

from components.manifests.merge import drop_empty
from components.manifests.pods import RESTRICTED_CONTAINER, RESTRICTED_POD
from components.settings.env import SecretKey
from components.settings.raycluster import RayClusterSettings

Object = dict[str, Any]

PORT = 6379
USER = 999  # of the redis image
DELETION_TIMEOUT_ANNOTATION = "ray.io/gcs-ft-deletion-timeout"


def name(cluster: RayClusterSettings) -> str:
    """Name of the Deployment and the Service."""
    return f"{cluster.name}-redis"


def options(cluster: RayClusterSettings) -> Object | None:
    """`spec.gcsFaultToleranceOptions`; None without fault tolerance."""
    tolerance = cluster.fault_tolerance
    if tolerance is None:
        return None

    def credential(source: SecretKey | None) -> Object | None:
        return {"valueFrom": {"secretKeyRef": {"name": source.secret, "key": source.key}}} if source else None

    return {
        "redisAddress": tolerance.redis.address or f"{name(cluster)}:{PORT}",
        **drop_empty(
            {
                "redisUsername": credential(tolerance.redis.username),
                "redisPassword": credential(tolerance.redis.password),
                "externalStorageNamespace": tolerance.storage_namespace,
            }
        ),
    }


def deletion_annotation(cluster: RayClusterSettings) -> dict[str, str]:
    """The annotation that limits the clean-up of Redis: without it a cluster whose Redis is gone is never deleted."""
    tolerance = cluster.fault_tolerance
    seconds = tolerance.deletion_timeout_seconds if tolerance else 0
    return {DELETION_TIMEOUT_ANNOTATION: str(seconds)} if seconds else {}


def objects(cluster: RayClusterSettings) -> list[Object]:
    """The Redis for trial: one pod without a disk. Its content survives the head's pod, but not its own."""
    tolerance = cluster.fault_tolerance
    if tolerance is None or not tolerance.redis.in_cluster:
        return []
    labels = {"app.kubernetes.io/name": "redis", "app.kubernetes.io/instance": cluster.name}
    metadata = {"name": name(cluster), "namespace": cluster.namespace, "labels": labels}
    password = tolerance.redis.password
    # The password is written to a file: everyone on the node can read the arguments of a process.
    # Redis without a password answers its own pod only, unless `protected-mode no`. A NetworkPolicy protects it.
    settings = 'protected-mode no\\nsave ""\\nappendonly no\\ndir /data\\n%s\\n'
    write = f"umask 077; printf '{settings}' \"${{PASSWORD:+requirepass $PASSWORD}}\" > /data/redis.conf"
    command = ["sh", "-c", f"{write} && exec redis-server /data/redis.conf"]
    env = (
        [{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": password.secret, "key": password.key}}}]
        if password
        else []
    )
    container = {
        "name": "redis",
        "image": tolerance.redis.image,
        "command": command,
        **drop_empty({"env": env}),
        "ports": [{"name": "redis", "containerPort": PORT}],
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 2},
        "resources": {"limits": {"cpu": "200m", "memory": "256Mi"}, "requests": {"cpu": "50m", "memory": "256Mi"}},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        "securityContext": RESTRICTED_CONTAINER,
    }
    pod = {
        "automountServiceAccountToken": False,
        "securityContext": {**RESTRICTED_POD, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER},
        "containers": [container],
        "volumes": [{"name": "data", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}}],
        "terminationGracePeriodSeconds": 5,
    }
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "replicas": 1,
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": labels, "ports": [{"name": "redis", "port": PORT, "targetPort": PORT}]},
        },
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": metadata,
            "spec": {
                "podSelector": {"matchLabels": labels},
                "policyTypes": ["Ingress"],
                "ingress": [
                    {
                        "from": [{"podSelector": {"matchLabels": {"ray.io/cluster": cluster.name}}}],
                        "ports": [{"protocol": "TCP", "port": PORT}],
                    }
                ],
            },
        },
    ]
