"""All plain objects of a stack, in the order of their creation; pure. KubeRay's own files come on top of these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from components.manifests import access, alerts, keeper, monitoring, namespace, quota, redis
from components.settings import Settings
from components.settings.kuberay import KubeRay
from components.settings.monitoring import Monitoring
from components.settings.raycluster import RayClusterSettings

Object = dict[str, Any]


def created_before(cluster: RayClusterSettings, kuberay: KubeRay, monitoring: Monitoring) -> list[Object]:
    """Objects that the RayCluster needs from its start to its end."""
    objects: list[Object] = []
    if cluster.service_account.create:
        objects.append(access.service_account(cluster))
    if cluster.network_policy.enabled:
        objects += access.network_policies(cluster, kuberay, monitoring)
    if cluster.job_users:
        objects += access.job_users(cluster)
    return objects + redis.objects(cluster)


def created_after(cluster: RayClusterSettings) -> list[Object]:
    """Objects that need the RayCluster."""
    budget = access.disruption_budget(cluster) if cluster.head_disruption_budget else None
    objects = (budget, access.ingress(cluster), access.load_balancer(cluster))
    return [manifest for manifest in objects if manifest is not None]


def pod_monitors(settings: Settings) -> list[Object]:
    """PodMonitors of the stack. They need only their namespaces."""
    pod_monitor = settings.monitoring.pod_monitor
    if pod_monitor is None:
        return []
    own = [monitoring.operator_pod_monitor(settings.kuberay, pod_monitor)] if settings.kuberay.operator == "own" else []
    keepers = [monitoring.keeper_pod_monitor(cluster, pod_monitor) for cluster in settings.clusters if cluster.keeper]
    return own + [monitoring.pod_monitor(cluster, pod_monitor) for cluster in settings.clusters] + keepers


def rules(settings: Settings) -> list[Object]:
    """PrometheusRules of the stack. They need only their namespaces."""
    wanted = settings.monitoring.rules
    if wanted is None:
        return []
    kuberay, labels, place = settings.kuberay, wanted.labels, wanted.namespace
    own = [alerts.operator_rules(kuberay, labels, place or kuberay.namespace)] if kuberay.operator == "own" else []
    return own + [alerts.cluster_rules(each, labels, place or each.namespace) for each in settings.clusters]


def all_objects(settings: Settings, rayclusters: Sequence[Object], outputs: Mapping[str, Any]) -> list[Object]:
    """Builds all plain objects of the stack.

    Args:
        settings: settings of the stack.
        rayclusters: the manifests of `settings.clusters`.
        outputs: the stack's contract.
    """
    objects: list[Object] = []
    for name, create in settings.used_namespaces.items():
        if create:
            objects.append(namespace.manifest(name, settings.namespace_settings(name).namespace_labels()))
        objects += quota.objects(settings, rayclusters, name)
    for cluster, raycluster in zip(settings.clusters, rayclusters, strict=True):
        objects += [
            *created_before(cluster, settings.kuberay, settings.monitoring),
            raycluster,
            *created_after(cluster),
            *keeper.objects(cluster, settings.monitoring, outputs),
        ]
    return objects + pod_monitors(settings) + rules(settings)
