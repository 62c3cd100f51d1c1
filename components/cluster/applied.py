"""Objects that a stack applies outside of the engine: rules and dashboards. resources/applied.py makes a Pulumi
resource of them.

An object is named as people name it, such as `ConfigMap monitoring/ray-default-dashboard`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from components.cluster.api import Api
from components.cluster.crds import OWNER_ANNOTATION, digest, is_foreign
from components.cluster.paths import object_path
from components.manifests.dashboards import FOLDER_ANNOTATION
from components.manifests.monitoring import API_VERSION

Document = Mapping[str, Any]
API_VERSIONS = {"ConfigMap": "v1", "PrometheusRule": API_VERSION}


def name_of(document: Document) -> str:
    metadata = document["metadata"]
    return f"{document['kind']} {metadata['namespace']}/{metadata['name']}"


def parts(name: str) -> tuple[str, str, str]:
    """Returns kind, namespace and name."""
    kind, _, place = name.partition(" ")
    namespace, _, own_name = place.partition("/")
    return kind, namespace, own_name


def path(name: str) -> str:
    """Returns the path of an object at the API server."""
    kind, namespace, own_name = parts(name)
    return object_path(API_VERSIONS[kind], kind, namespace, own_name)


def label_keys(documents: Iterable[Document]) -> list[str]:
    """Returns the keys of the labels that the stack sets."""
    return sorted({key for document in documents for key in document["metadata"].get("labels", {})})


def summary(documents: Sequence[Document]) -> dict[str, str]:
    """Returns the digest of each object by its name, for a preview."""
    keys = label_keys(documents)
    return {name_of(document): _digest(document, keys) for document in documents}


def foreign(api: Api, names: Iterable[str], owner: str) -> list[str]:
    """Returns the names of the objects on the cluster that the stack `owner` did not apply."""
    return [name for name in names if is_foreign(api.get(path(name)), owner)]


def apply(api: Api, documents: Iterable[Document], *, owner: str) -> None:
    """Applies objects by server-side apply, with the stack `owner` (`organization/project/stack`) in an annotation.

    Conflicts are forced: the caller has checked whose objects these are, and an edit by hand is drift.

    Raises:
        ClusterError: the server refuses.
    """
    for document in documents:
        metadata = document["metadata"]
        annotations = {**metadata.get("annotations", {}), OWNER_ANNOTATION: owner}
        marked = {**document, "metadata": {**metadata, "annotations": annotations}}
        api.apply(path(name_of(document)), marked, force=True)


def live_digests(api: Api, names: Iterable[str], keys: Sequence[str]) -> dict[str, str | None]:
    """Returns the digest of each live object, as `summary` counts it; None: it does not exist.

    Args:
        api: API server of the cluster.
        names: the objects.
        keys: keys of the labels that the stack sets.
    """
    return {name: _digest(found, keys) if found else None for name in names for found in [api.get(path(name))]}


def remove(api: Api, names: Iterable[str]) -> None:
    """Deletes objects; they need not exist."""
    for name in names:
        api.delete(path(name), propagation="Background")


def _digest(found: Document, keys: Sequence[str]) -> str:
    """The digest of what the stack sets: others may add labels and annotations."""
    metadata = found["metadata"]
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    content = found.get("data") or found.get("spec")
    return digest([[labels.get(key) for key in keys], annotations.get(FOLDER_ANNOTATION), content])
