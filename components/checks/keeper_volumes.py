"""What a live cluster says about the volumes of keepers: a class that is missing, a change that would lose the jobs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from components.cluster.api import Api
from components.cluster.ownership import URN_ANNOTATION
from components.manifests.keeper import RETAIN_ANNOTATION
from components.manifests.monitoring import KEEPER_NAME
from components.settings import Settings
from components.settings.keeper import Keeper
from jobs.kubernetes.paths import resource_path
from jobs.kubernetes.quantities import parse_quantity

Object = Mapping[str, Any]

CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
CLAIMS = "/api/v1/persistentvolumeclaims"
DEFAULT_ANNOTATION = "storageclass.kubernetes.io/is-default-class"


def problems(api: Api, settings: Settings, urn_prefix: str) -> Iterator[str]:
    """Returns what stops the volumes of the keepers: a class that is not there, or a change that Kubernetes refuses.

    Args:
        api: API server of the cluster.
        settings: settings of the stack.
        urn_prefix: beginning of the URNs of this stack.
    """
    keepers = {
        f"clusters[{index}].keeper": (cluster.namespace, cluster.keeper_name, cluster.keeper)
        for index, cluster in enumerate(settings.clusters)
        if cluster.keeper
    }
    if not keepers:
        return
    classes = {each["metadata"]["name"]: each for each in (api.get(CLASSES) or {"items": []})["items"]}
    for key, (namespace, name, keeper) in keepers.items():
        claim = api.get(resource_path("v1", "persistentvolumeclaims", name, namespace=namespace))
        if claim is None:
            yield from _of_new(key, keeper, classes)
        else:
            yield from _of_change(key, keeper, classes, claim)
            if not settings.used_namespaces[namespace]:
                yield from _of_namespace(key, api.get(f"/api/v1/namespaces/{namespace}"), urn_prefix)


def _of_new(key: str, keeper: Keeper, classes: Mapping[str, Object]) -> Iterator[str]:
    there = ", ".join(sorted(classes)) or "none"
    if keeper.storage_class and keeper.storage_class not in classes:
        yield f'{key}.storageClass: "{keeper.storage_class}": the cluster has no such StorageClass; it has: {there}'
    if not keeper.storage_class and not any(map(_is_default, classes.values())):
        yield f"{key}.storageClass: is missing: the cluster has no default StorageClass; it has: {there}"


def _is_default(storage_class: Object) -> bool:
    annotations = storage_class["metadata"].get("annotations") or {}
    return bool(annotations.get(DEFAULT_ANNOTATION) == "true")


def _of_change(key: str, keeper: Keeper, classes: Mapping[str, Object], claim: Object) -> Iterator[str]:
    subject = f"PersistentVolumeClaim {claim['metadata']['namespace']}/{claim['metadata']['name']}"
    name = claim["spec"].get("storageClassName")
    if keeper.storage_class and keeper.storage_class != name:
        yield (
            f'{key}.storageClass: "{keeper.storage_class}": {subject} has {name}, and a volume cannot change its '
            f"class; allowed: {name}. To begin with an empty volume: remove `keeper`, run `pulumi up`, which "
            "deletes all kept jobs, and add it again"
        )
    size = claim["spec"]["resources"]["requests"]["storage"]
    if parse_quantity(keeper.storage) < parse_quantity(size):
        yield f'{key}.storage: "{keeper.storage}": {subject} has {size}, and a volume cannot shrink; allowed: {size} on'
    grows = parse_quantity(keeper.storage) > parse_quantity(size)
    if grows and name in classes and not classes[name].get("allowVolumeExpansion"):
        yield (
            f'{key}.storage: "{keeper.storage}": {subject} has {size}, and its StorageClass {name} does not let '
            f"volumes grow (allowVolumeExpansion); allowed: {size}"
        )


def _of_namespace(key: str, namespace: Object | None, urn_prefix: str) -> Iterator[str]:
    """A namespace that this stack created and no longer declares: the engine deletes it, and the volume with it."""
    metadata = (namespace or {"metadata": {}})["metadata"]
    urn = str((metadata.get("annotations") or {}).get(URN_ANNOTATION, ""))
    if urn.startswith(urn_prefix):
        yield (
            f"{key}: this stack created namespace {metadata['name']}, and with `createNamespace: false` this update "
            "deletes it with all kept jobs; allowed: true. To take the namespace out of the stack: "
            f"`pulumi state delete '{urn}'`, then `kubectl annotate namespace {metadata['name']} {URN_ANNOTATION}-`"
        )


def losses(api: Api, settings: Settings, urn_prefix: str) -> list[str]:
    """Returns a line for each volume of a keeper that this stack has and would delete: its jobs would be lost.

    Args:
        api: API server of the cluster.
        settings: settings of the stack.
        urn_prefix: beginning of the URNs of this stack.
    """
    wanted = {(cluster.namespace, cluster.keeper_name) for cluster in settings.clusters if cluster.keeper}
    listed = (api.get(CLAIMS, labelSelector=f"app.kubernetes.io/name={KEEPER_NAME}") or {"items": []})["items"]
    return [text for claim in listed for text in _loss(claim, wanted, urn_prefix)]


def _loss(claim: Object, wanted: set[tuple[str, str]], urn_prefix: str) -> Iterator[str]:
    metadata = claim["metadata"]
    annotations = metadata.get("annotations") or {}
    own = str(annotations.get(URN_ANNOTATION, "")).startswith(urn_prefix)
    if own and (metadata["namespace"], metadata["name"]) not in wanted and RETAIN_ANNOTATION not in annotations:
        cluster = metadata["labels"].get("app.kubernetes.io/instance", "")
        yield (
            f"PersistentVolumeClaim {metadata['namespace']}/{metadata['name']}: this update deletes it, and with it "
            f"all jobs that the keeper of {cluster} kept. To keep it: undo the change, set `keeper.retain: true`, and "
            "run `pulumi up` first (docs/keeper.md)"
        )
