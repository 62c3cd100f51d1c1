"""All plain objects of a stack, in the order of their creation; pure. KubeRay's own files come on top of these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from components.manifests import access, alerts, monitoring, namespace, quota, redis
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


def monitors(settings: Settings) -> list[Object]:
    """PodMonitors and PrometheusRules of the stack. They need only their namespaces."""
    pod_monitor, rules = settings.monitoring.pod_monitor, settings.monitoring.rules
    own_operator = settings.kuberay.operator == "own"
    objects: list[Object] = []
    if pod_monitor:
        objects += [monitoring.operator_pod_monitor(settings.kuberay, pod_monitor)] if own_operator else []
        objects += [monitoring.pod_monitor(cluster, pod_monitor) for cluster in settings.clusters]
    if rules:
        objects += (
            [alerts.operator_rules(settings.kuberay, rules.labels, rules.namespace or settings.kuberay.namespace)]
            if own_operator
            else []
        )
        objects += [
            alerts.cluster_rules(cluster, rules.labels, rules.namespace or cluster.namespace)
            for cluster in settings.clusters
        ]
    return objects


def all_objects(settings: Settings, rayclusters: Sequence[Object]) -> list[Object]:
    """Builds all plain objects of the stack; `rayclusters` are the manifests of `settings.clusters`."""
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
        ]
    return objects + monitors(settings)
