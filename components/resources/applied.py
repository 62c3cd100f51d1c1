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
from components.errors import Forbidden, StackError
from components.kuberay.files import write_atomically
from components.kuberay.source import ROOT
from components.resources.cluster_identity import without_traceback
from components.resources.outside_engine import PLACE, api_of, difference, place, reading

COMPARED = ("objects", "labels", *PLACE)


def _beyond(olds: dict[str, Any], news: dict[str, Any]) -> list[str]:
    """Returns the names of the objects in `news` that `olds` does not have."""
    return sorted(set(news["objects"]) - set(olds.get("objects", {})))


def _refusal(olds: dict[str, Any], news: dict[str, Any], api: Api | None = None) -> str | None:
    """Returns why the stack must not write the objects that it does not have yet; None: it may.

    Without `api` it connects itself, where there is something to ask: a preview without changes does not.
    """
    added = _beyond(olds, news)
    if news["adopt"] or not added:
        return None
    taken = applied.foreign(api or api_of(news), added, news["owner"])
    if not taken:
        return None
    return (
        f"already on the cluster, and not of this stack: {', '.join(taken)}. Remove `dashboards` or `rules` from "
        "`monitoring` of this stack (one set of dashboards shows every RayCluster), choose another namespace for them, "
        "or take them over with `adopt: true`."
    )


def _apply(olds: dict[str, Any], news: dict[str, Any], api: Api) -> dict[str, Any]:
    file = ROOT / news["file"]  # the program has written the objects there
    documents = json.loads(file.read_text())
    if applied.summary(documents) != news["objects"]:
        raise StackError(f"{news['file']}: the rules or dashboards changed during `up`; run it again")
    # Again, because the user of a preview may not be allowed to read them.
    if refusal := _refusal(olds, news, api):
        raise StackError(f"monitoring: {refusal}")
    applied.apply(api, documents, owner=news["owner"])
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
        return difference(olds, news, COMPARED)

    @without_traceback
    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult("monitoring", _apply({}, props, api_of(props)))

    @without_traceback
    def update(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        api = api_of(news)  # the old context may be gone
        outputs = _apply(olds, news, api)
        _remove(api, _beyond(news, olds), olds["owner"])
        return UpdateResult(outputs)

    @without_traceback
    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        digests = applied.live_digests(api_of(props), sorted(props["objects"]), props["labels"])
        if not any(digests.values()):
            return ReadResult("", {})
        found = {
            name: wanted if digests[name] == wanted else f"changed on the cluster ({digests[name] or 'deleted'})"
            for name, wanted in props["objects"].items()
        }
        return reading(id_, props, "objects", found)

    @without_traceback
    def delete(self, _id: str, props: dict[str, Any]) -> None:
        _remove(api_of(props), sorted(props["objects"]), props["owner"])


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
            "adopt": adopt,
            "file": str(file),
            **place(cluster),
        }
        super().__init__(_ObjectsProvider(), name, props, opts)
