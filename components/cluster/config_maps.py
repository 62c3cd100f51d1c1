"""ConfigMaps that a stack applies outside of the engine: apply, read, remove. resources/dashboards.py makes a Pulumi
resource of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from components.cluster.api import Api
from components.cluster.crds import OWNER_ANNOTATION, digest
from components.cluster.paths import object_path
from components.manifests.dashboards import FOLDER_ANNOTATION

ConfigMap = Mapping[str, Any]


def summary(documents: Sequence[ConfigMap], label: str) -> dict[str, str]:
    """Returns the digest of each ConfigMap by its name, for a preview. `label` is the label that Grafana looks for."""
    return {document["metadata"]["name"]: _digest(document, label) for document in documents}


def foreign(api: Api, namespace: str, names: Sequence[str], owner: str) -> list[str]:
    """Returns the names of the ConfigMaps on the cluster that the stack `owner` did not apply."""
    live = _live(api, namespace, names)
    return [
        name
        for name, found in live.items()
        if found is not None and (found["metadata"].get("annotations") or {}).get(OWNER_ANNOTATION) != owner
    ]


def apply(api: Api, documents: Sequence[ConfigMap], *, owner: str) -> None:
    """Applies the ConfigMaps by server-side apply, with the stack `owner` (`organization/project/stack`) in an
    annotation.

    Conflicts are forced: the caller has checked whose ConfigMaps these are, and an edit by hand is drift.

    Raises:
        ClusterError: the server refuses.
    """
    for document in documents:
        metadata = document["metadata"]
        annotations = {**metadata.get("annotations", {}), OWNER_ANNOTATION: owner}
        marked = {**document, "metadata": {**metadata, "annotations": annotations}}
        api.apply(_path(metadata["namespace"], metadata["name"]), marked, force=True)


def live_digests(api: Api, namespace: str, names: Sequence[str], label: str) -> dict[str, str | None]:
    """Returns the digest of each live ConfigMap, as `summary` counts it; None: it does not exist."""
    return {name: _digest(found, label) if found else None for name, found in _live(api, namespace, names).items()}


def remove(api: Api, namespace: str, names: Sequence[str]) -> None:
    """Deletes ConfigMaps; they need not exist."""
    for name in names:
        api.delete(_path(namespace, name), propagation="Background")


def _live(api: Api, namespace: str, names: Sequence[str]) -> dict[str, dict[str, Any] | None]:
    return {name: api.get(_path(namespace, name)) for name in names}


def _path(namespace: str, name: str) -> str:
    return object_path("v1", "ConfigMap", namespace, name)


def _digest(found: ConfigMap, label: str) -> str:
    """The digest of what the stack sets: others may add labels and annotations."""
    metadata = found["metadata"]
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    return digest([labels.get(label), annotations.get(FOLDER_ANNOTATION), found.get("data")])
