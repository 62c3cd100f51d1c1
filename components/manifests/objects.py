"""All plain objects of a stack, in the order of their creation; pure. KubeRay's own files come on top of these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from components.manifests import access, namespace, quota, redis
from components.settings import Settings
from components.settings.kuberay import KubeRay
from components.settings.raycluster import RayClusterSettings

Object = dict[str, Any]


def created_before(cluster: RayClusterSettings, kuberay: KubeRay) -> list[Object]:
    """Objects that the RayCluster needs from its start to its end."""
    objects: list[Object] = []
    if cluster.service_account.create:
        objects.append(access.service_account(cluster))
    if cluster.network_policy.enabled:
        objects += access.network_policies(cluster, kuberay)
    if cluster.job_users:
        objects += access.job_users(cluster)
    return objects + redis.objects(cluster)


def created_after(cluster: RayClusterSettings) -> list[Object]:
    """Objects that need the RayCluster."""
    budget = access.disruption_budget(cluster) if cluster.head_disruption_budget else None
    objects = (budget, access.ingress(cluster), access.load_balancer(cluster))
    return [manifest for manifest in objects if manifest is not None]


def all_objects(settings: Settings, rayclusters: Sequence[Object]) -> list[Object]:
    """Builds all plain objects of the stack; `rayclusters` are the manifests of `settings.clusters`."""
    objects: list[Object] = []
    for name, create in settings.used_namespaces.items():
        if create:
            objects.append(namespace.manifest(name, settings.namespace_settings(name).namespace_labels()))
        objects += quota.objects(settings, rayclusters, name)
    for cluster, raycluster in zip(settings.clusters, rayclusters, strict=True):
        objects += [*created_before(cluster, settings.kuberay), raycluster, *created_after(cluster)]
    return objects
