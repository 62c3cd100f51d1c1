"""What a live cluster says about the volumes of keepers: a class that is missing, a change that would lose the jobs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from components.cluster.api import Api
from components.cluster.ownership import URN_ANNOTATION
from components.errors import Forbidden
from components.manifests.access import RETAIN_ANNOTATION
from components.manifests.monitoring import KEEPER_NAME
from components.settings import Settings
from components.settings.keeper import Keeper
from jobs.kubernetes.paths import resource_path
from jobs.kubernetes.quantities import parse_quantity

Object = Mapping[str, Any]

CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
CLAIMS = "/api/v1/persistentvolumeclaims"
# Kubernetes still takes the older one.
DEFAULT_ANNOTATIONS = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)


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
    claims = {}
    for key, (namespace, name, keeper) in keepers.items():
        claims[key] = claim = api.get(resource_path("v1", "persistentvolumeclaims", name, namespace=namespace))
        if claim is not None:
            yield from _of_change(key, keeper, claim)
            if not settings.used_namespaces[namespace]:
                yield from _of_namespace(key, api.get(f"/api/v1/namespaces/{namespace}"), urn_prefix)
    # Last: a user of one namespace may not read the classes.
    if all(claim is not None and not _grows(keepers[key][2], claim) for key, claim in claims.items()):
        return
    classes = {each["metadata"]["name"]: each for each in (api.get(CLASSES) or {"items": []})["items"]}
    for key, claim in claims.items():
        keeper = keepers[key][2]
        yield from _of_new(key, keeper, classes) if claim is None else _of_growth(key, keeper, classes, claim)


def _of_new(key: str, keeper: Keeper, classes: Mapping[str, Object]) -> Iterator[str]:
    there = ", ".join(sorted(classes)) or "none"
    if keeper.storage_class and keeper.storage_class not in classes:
        yield f'{key}.storageClass: "{keeper.storage_class}": the cluster has no such StorageClass; it has: {there}'
    if not keeper.storage_class and not any(map(_is_default, classes.values())):
        yield f"{key}.storageClass: is missing: the cluster has no default StorageClass; it has: {there}"


def _is_default(storage_class: Object) -> bool:
    annotations = storage_class["metadata"].get("annotations") or {}
    return any(annotations.get(name) == "true" for name in DEFAULT_ANNOTATIONS)


def _subject(claim: Object) -> str:
    return f"PersistentVolumeClaim {claim['metadata']['namespace']}/{claim['metadata']['name']}"


def _size(claim: Object) -> str:
    return str(claim["spec"]["resources"]["requests"]["storage"])


def _grows(keeper: Keeper, claim: Object) -> bool:
    return parse_quantity(keeper.storage) > parse_quantity(_size(claim))


def _of_change(key: str, keeper: Keeper, claim: Object) -> Iterator[str]:
    subject, name, size = _subject(claim), claim["spec"].get("storageClassName"), _size(claim)
    if keeper.storage_class and keeper.storage_class != name:
        yield (
            f'{key}.storageClass: "{keeper.storage_class}": {subject} has {name}, and a volume cannot change its '
            f"class; allowed: {name}. To begin with an empty volume: remove `keeper`, run `pulumi up`, which "
            "deletes all kept jobs, and add it again"
        )
    if parse_quantity(keeper.storage) < parse_quantity(size):
        yield f'{key}.storage: "{keeper.storage}": {subject} has {size}, and a volume cannot shrink; allowed: {size} on'


def _of_growth(key: str, keeper: Keeper, classes: Mapping[str, Object], claim: Object) -> Iterator[str]:
    name, size = claim["spec"].get("storageClassName"), _size(claim)
    if _grows(keeper, claim) and name in classes and not classes[name].get("allowVolumeExpansion"):
        yield (
            f'{key}.storage: "{keeper.storage}": {_subject(claim)} has {size}, and its StorageClass {name} does not '
            f"let volumes grow (allowVolumeExpansion); allowed: {size}"
        )


def _of_namespace(key: str, namespace: Object | None, urn_prefix: str) -> Iterator[str]:
    """A namespace that this stack created and no longer declares: the engine deletes it, and the volume with it."""
    metadata = (namespace or {"metadata": {}})["metadata"]
    annotations = metadata.get("annotations") or {}
    if str(annotations.get(URN_ANNOTATION, "")).startswith(urn_prefix) and RETAIN_ANNOTATION not in annotations:
        yield (
            f"{key}: this stack created namespace {metadata['name']}, and with `createNamespace: false` this update "
            "deletes it with all kept jobs; allowed: true. To take the namespace out of the stack: set "
            "`keeper.retain: true` and run `pulumi up` first"
        )


def losses(api: Api, settings: Settings, urn_prefix: str) -> list[str]:
    """Returns a line for each volume of a keeper that this stack has and would delete: its jobs would be lost.

    A user who may not list the volumes of the whole cluster gets the lines of the stack's present namespaces.

    Args:
        api: API server of the cluster.
        settings: settings of the stack.
        urn_prefix: beginning of the URNs of this stack.
    """
    wanted = {(cluster.namespace, cluster.keeper_name) for cluster in settings.clusters if cluster.keeper}
    try:
        claims = _listed(api, CLAIMS)
    except Forbidden:
        paths = [f"/api/v1/namespaces/{name}/persistentvolumeclaims" for name in settings.used_namespaces]
        claims = [claim for path in paths for claim in _listed(api, path)]
    return [text for claim in claims for text in _loss(claim, wanted, urn_prefix)]


def _listed(api: Api, path: str) -> list[Object]:
    found = api.get(path, labelSelector=f"app.kubernetes.io/name={KEEPER_NAME}")
    return list((found or {"items": []})["items"])


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
