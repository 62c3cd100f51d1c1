"""Fault tolerance: the operator's options, and a Redis in the cluster for trial."""

from __future__ import annotations

from typing import Any

from components.manifests.pods import RESTRICTED_CONTAINER, RESTRICTED_POD, stated
from components.settings.raycluster import Cluster

Object = dict[str, Any]

PORT = 6379
USER = 999  # of the redis image
DELETION_TIMEOUT_ANNOTATION = "ray.io/gcs-ft-deletion-timeout"


def name(cluster: Cluster) -> str:
    return f"{cluster.name}-redis"


def options(cluster: Cluster) -> Object | None:
    """`spec.gcsFaultToleranceOptions`; None without fault tolerance."""
    wanted = cluster.fault_tolerance
    if wanted is None:
        return None

    def credential(one: Any) -> Object | None:
        return {"valueFrom": {"secretKeyRef": {"name": one.secret, "key": one.key}}} if one else None

    return {
        "redisAddress": wanted.redis.address or f"{name(cluster)}:{PORT}",
        **stated(
            {
                "redisUsername": credential(wanted.redis.username),
                "redisPassword": credential(wanted.redis.password),
                "externalStorageNamespace": wanted.storage_namespace,
            }
        ),
    }


def deletion_annotation(cluster: Cluster) -> dict[str, str]:
    """So that the end of a cluster whose Redis is gone has an end too."""
    wanted = cluster.fault_tolerance
    seconds = wanted.deletion_timeout_seconds if wanted else 0
    return {DELETION_TIMEOUT_ANNOTATION: str(seconds)} if seconds else {}


def objects(cluster: Cluster) -> list[Object]:
    """The Redis of a trial: one pod, nothing on disk; what it holds outlives the head and not itself."""
    wanted = cluster.fault_tolerance
    if wanted is None or not wanted.redis.in_cluster:
        return []
    labels = {"app.kubernetes.io/name": "redis", "app.kubernetes.io/instance": cluster.name}
    metadata = {"name": name(cluster), "namespace": cluster.namespace, "labels": labels}
    password = wanted.redis.password
    # The password goes in by a file: process arguments can be read by everybody on the node.
    # Without `protected-mode no` and without a password it answers to its own pod alone; a NetworkPolicy guards it.
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
        "image": wanted.redis.image,
        "command": command,
        **stated({"env": env}),
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
