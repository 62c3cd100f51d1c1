"""The outputs of the stack: the contract that `rayjobs` reads, and single values for people; pure.

The schema of the contract is in jobs/target/contract.py, its description in docs/architecture.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.manifests.access import external_url
from components.settings import Settings
from components.settings.keeper import PORT
from components.settings.raycluster import RayClusterSettings
from jobs.target.contract import DASHBOARD_PORT, TOKEN_KEY, Cluster, Contract, KeeperService


def contract(settings: Settings, *, project: str, stack: str, context: str, cluster_uid: str | None) -> dict[str, Any]:
    """Builds the contract as the stack exports it.

    Args:
        settings: settings of the stack.
        project, stack: names in Pulumi.
        context: context of the kubeconfig; empty in render mode and in a pod.
        cluster_uid: UID of the namespace `kube-system`; None in render mode.
    """
    return Contract(
        source=f"stack {stack}",
        project=project,
        stack=stack,
        kubeconfig=settings.kubeconfig or None,
        kube_context=context,
        cluster_uid=cluster_uid,
        operator_namespace=settings.kuberay.namespace,
        operator_version=settings.kuberay.version,
        prometheus=settings.monitoring.prometheus_host,
        clusters=tuple(map(_cluster, settings.clusters)),
    ).to_dict()


def _cluster(cluster: RayClusterSettings) -> Cluster:
    return Cluster(
        name=cluster.name,
        namespace=cluster.namespace,
        head_service=cluster.head_service,
        dashboard_port=DASHBOARD_PORT,
        ray_version=cluster.ray_version,
        external_url=external_url(cluster),
        auth_secret=(cluster.auth_secret, TOKEN_KEY) if cluster.auth_secret else None,
        keeper=KeeperService(cluster.keeper_name, PORT) if cluster.keeper else None,
    )


def flat_outputs(contract: Mapping[str, Any]) -> dict[str, Any]:
    """Returns single values for a person at `pulumi stack output NAME`, those of the first cluster where there are
    several."""
    outputs = {
        "operatorNamespace": contract["operator"]["namespace"],
        "operatorVersion": contract["operator"]["version"],
        "kubeContext": contract["kubeContext"],
    }
    if contract["clusters"]:
        first = contract["clusters"][0]
        outputs |= {key: first[key] for key in ("namespace", "headService", "dashboardPort", "rayVersion")}
        outputs["cluster"] = first["name"]
    return outputs
