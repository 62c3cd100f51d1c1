"""What the program exports: the contract that `jobs` reads, and flat outputs for people. See docs/architecture.md."""

from __future__ import annotations

from typing import Any

import pulumi

from components.cluster import context as clusters
from components.manifests.access import external_url
from components.settings.load import Settings
from components.settings.raycluster import TOKEN_KEY, Cluster

SCHEMA_VERSION = 1
DASHBOARD_PORT = 8265


def contract(settings: Settings, cluster: clusters.Cluster | None) -> dict[str, Any]:
    """The versioned record; `cluster` is None in render mode. It names the token's Secret and never holds its value."""
    return {
        "schemaVersion": SCHEMA_VERSION,
        "project": pulumi.get_project(),
        "stack": pulumi.get_stack(),
        "kubeconfig": settings.kubeconfig or None,
        "kubeContext": cluster.context if cluster else "",
        "clusterUid": cluster.uid if cluster else None,
        "operator": {"namespace": settings.kuberay.namespace, "version": settings.kuberay.version},
        "clusters": [_cluster(entry) for entry in settings.clusters],
    }


def _cluster(cluster: Cluster) -> dict[str, Any]:
    secret = cluster.auth_secret
    return {
        "name": cluster.name,
        "namespace": cluster.namespace,
        "headService": cluster.head_service,
        "dashboardPort": DASHBOARD_PORT,
        "rayVersion": cluster.ray_version,
        "externalUrl": external_url(cluster),
        "authSecret": {"name": secret, "key": TOKEN_KEY} if secret else None,
    }


def flat(record: dict[str, Any]) -> dict[str, Any]:
    """The outputs that a person types, of the first cluster where there are several."""
    outputs = {
        "operatorNamespace": record["operator"]["namespace"],
        "operatorVersion": record["operator"]["version"],
        "kubeContext": record["kubeContext"],
    }
    if record["clusters"]:
        first = record["clusters"][0]
        outputs |= {key: first[key] for key in ("namespace", "headService", "dashboardPort", "rayVersion")}
        outputs["cluster"] = first["name"]
    return outputs
