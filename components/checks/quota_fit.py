"""Do the stack's own pods fit into the ResourceQuota and LimitRange of their namespace? Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from components.manifests.keeper import container_resources
from components.manifests.quota import hard_limits, operator_containers, requests_in
from components.settings import Settings
from components.settings.access import Limits, Quota
from jobs.kubernetes.quantities import parse_quantity

Manifests = Sequence[Mapping[str, Any]]
Containers = Sequence[tuple[str, Mapping[str, Any]]]


def problems(settings: Settings, manifests: Manifests) -> Iterator[str]:
    """Quotas and limits under which the stack's operator or clusters can never get ready."""
    for name, namespace in settings.namespaces.items():
        if isinstance(namespace.quota, Quota):
            yield from _above_quota(settings, manifests, name, namespace.quota)
        if namespace.limits:
            yield from _above_limits(name, namespace.limits, _containers(settings, manifests, name))


def _above_quota(settings: Settings, manifests: Manifests, name: str, quota: Quota) -> Iterator[str]:
    requests = requests_in(settings, manifests, name, largest=False)
    for key, size in hard_limits(quota).items():
        request = requests.get(key.removeprefix("requests."), Decimal(0))
        if request > parse_quantity(size):
            yield (
                f"namespaces.{name}.quota: {key} {size} is less than the pods there request at the start "
                f"({_shown(key, request)}, sidecars included); allowed: more, or `quota: fit`"
            )


def _above_limits(name: str, limits: Limits, containers: Containers) -> Iterator[str]:
    for resource, limit in limits.max:
        for label, container in containers:
            size = container.get("resources", {}).get("limits", {}).get(resource)
            if limit and size and parse_quantity(str(size)) > parse_quantity(limit):
                yield (
                    f"namespaces.{name}.limits.max.{resource}: {limit} is less than the {size} of container {label}; "
                    f"allowed: {size} or more"
                )


def _containers(settings: Settings, manifests: Manifests, name: str) -> Containers:
    """Returns the containers of the stack in namespace `name`, each with a label for errors."""
    containers = [(str(container.get("name")), container) for container in operator_containers(settings, name)]
    for cluster, manifest in zip(settings.clusters, manifests, strict=True):
        if cluster.namespace != name:
            continue
        spec = manifest["spec"]
        if spec.get("enableInTreeAutoscaling"):
            containers.append((f"autoscaler in {cluster.name}", spec["autoscalerOptions"]))
        for group in [spec["headGroupSpec"], *spec.get("workerGroupSpecs", [])]:
            for container in group["template"]["spec"]["containers"]:
                containers.append((f"{container['name']} in {cluster.name}", container))
        if cluster.keeper:
            containers.append((f"keeper of {cluster.name}", {"resources": container_resources(cluster.keeper)}))
    return containers


def _shown(key: str, size: Decimal) -> str:
    return f"{-(-int(size) // 1024**2)}Mi" if key.endswith("memory") else f"{size.normalize():f}"
