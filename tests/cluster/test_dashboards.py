"""The dashboards' ConfigMaps on a real API server: applied, drifted, moved, somebody else's, removed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.cluster import config_maps
from components.cluster.api import Api
from components.cluster.identity import OtherCluster
from components.errors import StackError
from components.grafana.dashboards import build_dashboards
from components.resources.dashboards import _DashboardProvider
from components.settings import parse
from tests.support.cluster import Cluster

Props = dict[str, Any]
NAMESPACES = ("grafana-a", "grafana-b")
OURS, THEIRS = "organization/ray-on-kubernetes/test", "organization/ray-on-kubernetes/other"


@pytest.fixture(scope="module")
def api(cluster: Cluster) -> Iterator[Api]:
    for name in NAMESPACES:
        cluster.kubectl("create", "namespace", name)
    yield Api(str(cluster.kubeconfig), cluster.context)
    cluster.kubectl("delete", "namespace", *NAMESPACES, "--wait=false")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("components.resources.dashboards.ROOT", tmp_path)
    return tmp_path


def props(cluster: Cluster, api: Api, folder: Path, namespace: str, owner: str = OURS, **more: Any) -> Props:
    """The inputs of the resource, and the files that the program writes for it."""
    documents = build_dashboards(parse({"monitoring": {"dashboards": {"namespace": namespace}}}))
    for document in documents:
        (folder / f"{document['metadata']['name']}.json").write_text(json.dumps(document))
    return {
        "dashboards": config_maps.summary(documents, "grafana_dashboard"),
        "namespace": namespace,
        "label": "grafana_dashboard",
        "owner": owner,
        "adopt": False,
        "files": ".",
        "context": cluster.context,
        "kubeconfig": str(cluster.kubeconfig),
        "clusterUid": api.cluster_uid(),
        **more,
    }


def names(cluster: Cluster, namespace: str) -> list[str]:
    found = cluster.kubectl("get", "configmaps", "-n", namespace, "-l", "grafana_dashboard=1", "-o", "name")
    return sorted(line.removeprefix("configmap/") for line in found.split())


def test_they_are_applied_moved_to_another_namespace_and_removed(cluster: Cluster, api: Api, folder: Path) -> None:
    provider, (first, second) = _DashboardProvider(), NAMESPACES
    inputs = props(cluster, api, folder, first)
    assert provider.check({}, inputs).failures == []
    created = provider.create(inputs)
    assert names(cluster, first) == sorted(inputs["dashboards"])
    assert provider.read(created.id or "", created.outs or {}).outs == created.outs
    moved = props(cluster, api, folder, second)
    assert provider.diff("", inputs, moved).changes
    provider.update("", inputs, moved)
    assert (names(cluster, first), names(cluster, second)) == ([], sorted(inputs["dashboards"]))
    fewer = {**moved, "dashboards": {"ray-on-kubernetes": moved["dashboards"]["ray-on-kubernetes"]}}
    provider.update("", moved, fewer)
    assert names(cluster, second) == ["ray-on-kubernetes"]
    provider.delete("", fewer)
    assert names(cluster, second) == []


def test_a_dashboard_that_somebody_edited_or_deleted_is_drift_and_the_next_update_restores_it(
    cluster: Cluster, api: Api, folder: Path
) -> None:
    provider, namespace = _DashboardProvider(), NAMESPACES[0]
    inputs = props(cluster, api, folder, namespace)
    provider.create(inputs)
    edit = '{"data": {"rayOnKubernetes.json": "{}"}}'
    cluster.kubectl("patch", "configmap", "ray-on-kubernetes", "-n", namespace, "-p", edit)
    cluster.kubectl("delete", "configmap", "ray-default-dashboard", "-n", namespace)
    # A label of somebody else is none of the stack's business.
    cluster.kubectl("label", "configmap", "ray-serve-dashboard", "-n", namespace, "team=a")
    (folder / "ray-on-kubernetes.json").unlink()  # a refresh on another machine has no files of this one
    found = (provider.read("dashboards", inputs).outs or {})["dashboards"]
    changed = sorted(name for name in found if found[name] != inputs["dashboards"][name])
    assert changed == ["ray-default-dashboard", "ray-on-kubernetes"]
    provider.update("", {**inputs, "dashboards": found}, props(cluster, api, folder, namespace))
    assert (provider.read("dashboards", inputs).outs or {})["dashboards"] == inputs["dashboards"]
    provider.delete("", inputs)


def test_a_context_that_is_gone_and_a_renamed_stack_are_an_update_like_any_other(
    cluster: Cluster, api: Api, folder: Path
) -> None:
    provider, namespace = _DashboardProvider(), NAMESPACES[0]
    inputs = props(cluster, api, folder, namespace)
    provider.create(inputs)
    fewer = {key: value for key, value in inputs["dashboards"].items() if key != "ray-on-kubernetes"}
    renamed = {**inputs, "dashboards": fewer, "owner": "organization/ray-on-kubernetes/renamed"}
    assert provider.check(inputs, renamed).failures == []
    provider.update("", {**inputs, "context": "gone", "kubeconfig": "/nowhere"}, renamed)
    assert names(cluster, namespace) == sorted(fewer)
    provider.delete("", renamed)
    assert names(cluster, namespace) == []


def test_when_all_are_gone_the_resource_is_gone_and_another_folder_or_label_is_a_change(
    cluster: Cluster, api: Api, folder: Path
) -> None:
    provider, namespace = _DashboardProvider(), NAMESPACES[0]
    inputs = props(cluster, api, folder, namespace)
    assert not provider.read("dashboards", inputs).id
    assert provider.diff("", inputs, {**inputs, "label": "another"}).changes
    elsewhere = {"monitoring": {"dashboards": {"namespace": namespace, "folder": "Teams"}}}
    assert config_maps.summary(build_dashboards(parse(elsewhere)), "grafana_dashboard") != inputs["dashboards"]


def test_those_of_another_stack_are_refused_by_name_and_left_alone(cluster: Cluster, api: Api, folder: Path) -> None:
    provider, namespace = _DashboardProvider(), NAMESPACES[0]
    theirs, ours = (props(cluster, api, folder, namespace, owner=owner) for owner in (THEIRS, OURS))
    provider.create(theirs)
    (failure,) = provider.check({}, ours).failures
    assert failure.reason.startswith(f"already in namespace {namespace}, and not of this stack: ray-data-dashboard, ")
    with pytest.raises(StackError, match=r"monitoring.dashboards: already in namespace"):
        provider.create(ours)
    provider.delete("", ours)
    assert names(cluster, namespace) == sorted(theirs["dashboards"])
    adopting = props(cluster, api, folder, namespace, adopt=True)
    assert provider.check({}, adopting).failures == []
    provider.create(adopting)
    provider.delete("", theirs)  # the other stack's destroy leaves what was taken over
    assert names(cluster, namespace) == sorted(theirs["dashboards"])
    provider.delete("", adopting)


def test_another_cluster_behind_the_context_stops_it(cluster: Cluster, api: Api, folder: Path) -> None:
    elsewhere = props(cluster, api, folder, NAMESPACES[0], clusterUid="another")
    with pytest.raises(OtherCluster):
        _DashboardProvider().delete("", elsewhere)
