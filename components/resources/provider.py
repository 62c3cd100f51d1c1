"""The one Kubernetes provider of the stack; the default one is off in Pulumi.yaml."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pulumi
import pulumi_kubernetes as kubernetes

from components.cluster.context import Cluster
from components.resources.cluster_identity import ClusterGuard, ClusterIdentity
from components.settings.load import Settings


def identity(settings: Settings, cluster: Cluster) -> ClusterIdentity:
    return ClusterIdentity("cluster", uid=cluster.uid, context=cluster.context, kubeconfig=settings.kubeconfig or None)


def rendering(settings: Settings) -> kubernetes.Provider:
    """Without a cluster: into `renderTo`."""
    return kubernetes.Provider("render", render_yaml_to_directory=settings.render_to)


def provider(settings: Settings, cluster: Cluster, compared: ClusterIdentity) -> kubernetes.Provider:
    """For `cluster`, after its identity was compared with the recorded one."""
    return kubernetes.Provider(
        "cluster",
        # Empty means the usual rules. Left out, the SDK would put this machine's KUBECONFIG into the state.
        kubeconfig=str(Path(settings.kubeconfig).expanduser()) if settings.kubeconfig else "",
        context=cluster.context or None,
        cluster_identifier=cluster.uid,
        upsert_existing_objects=True,  # what may be taken over, components/hooks/ownership.py decides
        enable_patch_force=settings.adopt or None,
        opts=pulumi.ResourceOptions(depends_on=[compared]),
    )


def guard(settings: Settings, cluster: Cluster, after: Sequence[pulumi.Resource]) -> ClusterGuard:
    """The first to go in a `destroy`, which it stops where `cluster` is not the one that answers."""
    return ClusterGuard(
        "cluster-guard",
        uid=cluster.uid,
        context=cluster.context,
        kubeconfig=settings.kubeconfig or None,
        depends_on=after,
    )
