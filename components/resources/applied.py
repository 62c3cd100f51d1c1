"""Rules and dashboards as one small resource.

Nine dashboards are 0.7 MB, and the rules of one RayCluster 6 kB. As resources of the engine they would be in the state
twice, and every preview would send them. So the engine gets the name and the digest of each, and a dynamic provider
applies them by server-side apply, as with KubeRay's CRDs. In render mode they are plain objects and end up as files.

Pulumi pickles a dynamic provider into the state by module and class name: do not move or rename this one without
leaving the old name behind, as components/crds.py does.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pulumi
from pulumi.dynamic import (
    CheckFailure,
    CheckResult,
    CreateResult,
    DiffResult,
    ReadResult,
    Resource,
    ResourceProvider,
    UpdateResult,
)

from components.cluster import applied
from components.cluster.api import Api
from components.cluster.context import KubernetesCluster
from components.cluster.identity import connect_to_recorded
from components.errors import Forbidden, StackError
from components.kuberay.files import write_atomically
from components.kuberay.source import ROOT
from components.resources.cluster_identity import without_traceback

COMPARED = ("objects", "labels", "owner", "context", "kubeconfig", "clusterUid")


def _api(props: dict[str, Any]) -> Api:
    return connect_to_recorded(props.get("kubeconfig"), props["context"], props["clusterUid"])


def _beyond(olds: dict[str, Any], news: dict[str, Any]) -> list[str]:
    """Returns the names of the objects in `news` that `olds` does not have."""
    return sorted(set(news["objects"]) - set(olds.get("objects", {})))


def _refusal(olds: dict[str, Any], news: dict[str, Any]) -> str | None:
    """Returns why the stack must not write the objects that it does not have yet; None: it may."""
    added = _beyond(olds, news)
    if news["adopt"] or not added:
        return None
    taken = applied.foreign(_api(news), added, news["owner"])
    if not taken:
        return None
    return (
        f"already on the cluster, and not of this stack: {', '.join(taken)}. Remove `dashboards` or `rules` from "
        "`monitoring` of this stack (one set of dashboards shows every RayCluster), choose another namespace for them, "
        "or take them over with `adopt: true`."
    )


def _apply(olds: dict[str, Any], news: dict[str, Any]) -> dict[str, Any]:
    file = ROOT / news["file"]  # the program has written the objects there
    documents = json.loads(file.read_text())
    if applied.summary(documents) != news["objects"]:
        raise StackError(f"{news['file']}: the rules or dashboards changed during `up`; run it again")
    # Again, because the user of a preview may not be allowed to read them.
    if refusal := _refusal(olds, news):
        raise StackError(f"monitoring: {refusal}")
    applied.apply(_api(news), documents, owner=news["owner"])
    return dict(news)


def _remove(api: Api, names: Iterable[str], owner: str) -> None:
    # An object that another stack has taken over since belongs to that stack.
    others = applied.foreign(api, names, owner)
    applied.remove(api, [name for name in names if name not in others])


class _ObjectsProvider(ResourceProvider):
    serialize_as_secret_always = False

    @without_traceback
    def check(self, olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        with contextlib.suppress(Forbidden):
            if refusal := _refusal(olds, news):
                return CheckResult(news, [CheckFailure("objects", refusal)])
        return CheckResult(news, [])

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        return DiffResult(changes=any(olds.get(key) != news.get(key) for key in COMPARED))

    @without_traceback
    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult("monitoring", _apply({}, props))

    @without_traceback
    def update(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        outputs = _apply(olds, news)
        # Through the new context: the old one may be gone.
        if left := _beyond(news, olds):
            _remove(_api(news), left, olds["owner"])
        return UpdateResult(outputs)

    @without_traceback
    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        digests = applied.live_digests(_api(props), sorted(props["objects"]), props["labels"])
        if not any(digests.values()):
            return ReadResult("", {})
        # Drift goes into the compared property, so that a refresh shows it and the next preview repairs it.
        found = {
            name: wanted if digests[name] == wanted else f"changed on the cluster ({digests[name] or 'deleted'})"
            for name, wanted in props["objects"].items()
        }
        outputs = {**props, "objects": found}
        if found == props["objects"]:
            return ReadResult(id_, outputs)
        return ReadResult(id_, outputs, {key: value for key, value in outputs.items() if key != "__provider"})

    @without_traceback
    def delete(self, _id: str, props: dict[str, Any]) -> None:
        _remove(_api(props), sorted(props["objects"]), props["owner"])


class AppliedObjects(Resource, module="monitoring", name="Objects"):
    """Objects on a live cluster that the engine knows by name and digest.

    Args:
        name: name of the resource.
        documents: the objects.
        cluster: the cluster.
        adopt: take over objects that exist already. Otherwise a preview stops and names them.
        opts: options of the resource.
    """

    def __init__(
        self,
        name: str,
        documents: Sequence[dict[str, Any]],
        cluster: KubernetesCluster,
        *,
        adopt: bool,
        opts: pulumi.ResourceOptions,
    ) -> None:
        file = Path(".cache", "overlays", pulumi.get_stack(), f"{name}.json")
        write_atomically(ROOT / file, json.dumps(documents))
        props = {
            "objects": applied.summary(documents),
            "labels": applied.label_keys(documents),
            "owner": f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}",
            "adopt": adopt,
            "file": str(file),
            "context": cluster.context,
            "kubeconfig": cluster.kubeconfig,
            "clusterUid": cluster.uid,
        }
        super().__init__(_ObjectsProvider(), name, props, opts)
