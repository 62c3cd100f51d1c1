"""Grafana dashboards as one small resource.

Nine ConfigMaps are 0.7 MB. As resources of the engine they would be in the state twice, and every preview would send
them. So the engine gets the name and the digest of each, and a dynamic provider applies them by server-side apply, as
with KubeRay's CRDs. In render mode they are plain objects and end up as files.

Pulumi pickles a dynamic provider into the state by module and class name: do not move or rename this one without
leaving the old name behind, as components/crds.py does.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
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

from components.cluster import config_maps
from components.cluster.api import Api
from components.cluster.context import KubernetesCluster
from components.cluster.identity import connect_to_recorded
from components.errors import Forbidden, StackError
from components.kuberay.files import write_atomically
from components.kuberay.source import ROOT
from components.resources.cluster_identity import without_traceback
from components.settings.monitoring import Dashboards

COMPARED = ("dashboards", "namespace", "label", "owner", "context", "kubeconfig", "clusterUid")


def _api(props: dict[str, Any]) -> Api:
    return connect_to_recorded(props.get("kubeconfig"), props["context"], props["clusterUid"])


def _added(olds: dict[str, Any], news: dict[str, Any]) -> list[str]:
    """Returns the names of the ConfigMaps that the stack does not have yet."""
    same_place = olds.get("namespace") == news["namespace"]
    return sorted(set(news["dashboards"]) - set(olds["dashboards"] if same_place else {}))


def _refusal(olds: dict[str, Any], news: dict[str, Any]) -> str | None:
    """Returns why the stack must not write the ConfigMaps that it does not have yet; None: it may."""
    added = _added(olds, news)
    if news["adopt"] or not added:
        return None
    taken = config_maps.foreign(_api(news), news["namespace"], added, news["owner"])
    if not taken:
        return None
    return (
        f"already in namespace {news['namespace']}, and not of this stack: {', '.join(taken)}. One set of dashboards "
        "shows every RayCluster: remove `monitoring.dashboards` from this stack, choose another namespace, or take "
        "them over with `adopt: true`."
    )


def _apply(olds: dict[str, Any], news: dict[str, Any]) -> dict[str, Any]:
    files = ROOT / news["files"]  # the program has written the ConfigMaps there
    documents = [json.loads((files / f"{name}.json").read_text()) for name in sorted(news["dashboards"])]
    if config_maps.summary(documents, news["label"]) != news["dashboards"]:
        raise StackError(f"{news['files']}: the dashboards changed during `up`; run it again")
    # Again, because the user of a preview may not be allowed to read them.
    if refusal := _refusal(olds, news):
        raise StackError(f"monitoring.dashboards: {refusal}")
    config_maps.apply(_api(news), documents, owner=news["owner"])
    return dict(news)


def _remove(props: dict[str, Any], names: Sequence[str], api: Api) -> None:
    # A ConfigMap that another stack has taken over since belongs to that stack.
    adopted = config_maps.foreign(api, props["namespace"], names, props["owner"])
    config_maps.remove(api, props["namespace"], [name for name in names if name not in adopted])


class _DashboardProvider(ResourceProvider):
    serialize_as_secret_always = False

    @without_traceback
    def check(self, olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        with contextlib.suppress(Forbidden):
            if refusal := _refusal(olds, news):
                return CheckResult(news, [CheckFailure("dashboards", refusal)])
        return CheckResult(news, [])

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        return DiffResult(changes=any(olds.get(key) != news.get(key) for key in COMPARED))

    @without_traceback
    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult("dashboards", _apply({}, props))

    @without_traceback
    def update(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        outputs = _apply(olds, news)
        # Through the new context: the old one may be gone.
        if left := _added(news, olds):
            _remove(olds, left, _api(news))
        return UpdateResult(outputs)

    @without_traceback
    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        names = sorted(props["dashboards"])
        digests = config_maps.live_digests(_api(props), props["namespace"], names, props["label"])
        if not any(digests.values()):
            return ReadResult("", {})
        # Drift goes into the compared property, so that a refresh shows it and the next preview repairs it.
        found = {
            name: wanted if digests[name] == wanted else f"changed on the cluster ({digests[name] or 'deleted'})"
            for name, wanted in props["dashboards"].items()
        }
        outputs = {**props, "dashboards": found}
        if found == props["dashboards"]:
            return ReadResult(id_, outputs)
        return ReadResult(id_, outputs, {key: value for key, value in outputs.items() if key != "__provider"})

    @without_traceback
    def delete(self, _id: str, props: dict[str, Any]) -> None:
        _remove(props, sorted(props["dashboards"]), _api(props))


class AppliedDashboards(Resource, module="monitoring", name="Dashboards"):
    """The ConfigMaps of Grafana dashboards on a live cluster.

    Args:
        name: name of the resource.
        settings: where the dashboards go, and how Grafana finds them.
        documents: the ConfigMaps.
        cluster: the cluster.
        adopt: take over ConfigMaps that exist already. Otherwise a preview stops and names them.
        opts: options of the resource.
    """

    def __init__(
        self,
        name: str,
        settings: Dashboards,
        documents: Sequence[dict[str, Any]],
        cluster: KubernetesCluster,
        *,
        adopt: bool,
        opts: pulumi.ResourceOptions,
    ) -> None:
        files = Path(".cache", "overlays", pulumi.get_stack(), "dashboards")
        for document in documents:
            write_atomically(ROOT / files / f"{document['metadata']['name']}.json", json.dumps(document))
        props = {
            "dashboards": config_maps.summary(documents, settings.label),
            "namespace": settings.namespace,
            "label": settings.label,
            "owner": f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}",
            "adopt": adopt,
            "files": str(files),
            "context": cluster.context,
            "kubeconfig": cluster.kubeconfig,
            "clusterUid": cluster.uid,
        }
        super().__init__(_DashboardProvider(), name, props, opts)
