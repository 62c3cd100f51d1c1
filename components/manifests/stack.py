"""Every plain object of the stack, in the order it has to be made; pure. The overlays' objects come on top."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from components.manifests import access, redis
from components.manifests import quota as guards
from components.resources import namespace
from components.settings.kuberay import KubeRay
from components.settings.load import Settings
from components.settings.raycluster import Cluster

Object = dict[str, Any]


def before(cluster: Cluster, kuberay: KubeRay) -> list[Object]:
    """What a RayCluster needs when it starts, and until its end."""
    found: list[Object] = []
    if cluster.service_account.create:
        found.append(access.service_account(cluster))
    if cluster.network_policy.enabled:
        found += access.network_policies(cluster, kuberay)
    if cluster.job_users:
        found += access.job_users(cluster)
    return found + redis.objects(cluster)


def after(cluster: Cluster) -> list[Object]:
    """What stands on a RayCluster that is there."""
    budget = access.disruption_budget(cluster) if cluster.head_disruption_budget else None
    found = (budget, access.ingress(cluster), access.load_balancer(cluster))
    return [one for one in found if one is not None]


def everything(settings: Settings, rayclusters: Sequence[Object]) -> list[Object]:
    """All of it with the RayClusters between: for tests and for who wants to see it without the engine."""
    found: list[Object] = []
    for name, ours in settings.used_namespaces.items():
        wanted = settings.guards(name)
        if ours:
            found.append(namespace.manifest(name, wanted.namespace_labels()))
        found += guards.objects(settings, rayclusters, name)
    for cluster, raycluster in zip(settings.clusters, rayclusters, strict=True):
        found += [*before(cluster, settings.kuberay), raycluster, *after(cluster)]
    return found
