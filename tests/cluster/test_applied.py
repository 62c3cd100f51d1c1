"""Rules and dashboards on a real API server: applied, drifted, moved, somebody else's, removed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.cluster import applied
from components.cluster.api import Api
from components.errors import StackError
from components.grafana.dashboards import build_dashboards
from components.manifests.objects import rules
from components.resources.applied import _ObjectsProvider
from components.settings import parse
from tests.support import prometheus
from tests.support.cluster import Cluster

Props = dict[str, Any]
NAMESPACES = ("grafana-a", "grafana-b")
OURS, THEIRS = "organization/ray-on-kubernetes/test", "organization/ray-on-kubernetes/other"


@pytest.fixture(scope="module")
def api(cluster: Cluster) -> Iterator[Api]:
    if problem := prometheus.problem():
        pytest.skip(f"the CRD of PrometheusRules: {problem}")
    with prometheus.with_crds(cluster):
        for name in NAMESPACES:
            cluster.kubectl("create", "namespace", name)
        yield Api(str(cluster.kubeconfig), cluster.context)
        cluster.kubectl("delete", "namespace", *NAMESPACES, "--wait=false")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("components.resources.applied.ROOT", tmp_path)
    return tmp_path


def documents(namespace: str, **dashboards: str) -> list[dict[str, Any]]:
    monitoring = {
        "podMonitor": True,
        "rules": {"namespace": namespace, "labels": {"release": "prometheus"}},
        "dashboards": {"namespace": namespace, **dashboards},
    }
    settings = parse({"monitoring": monitoring})
    return [*rules(settings), *build_dashboards(settings)]


def props(
    cluster: Cluster, api: Api, folder: Path, wanted: list[dict[str, Any]], owner: str = OURS, **more: Any
) -> Props:
    """The inputs of the resource, and the file that the program writes for it."""
    file = f"{len(list(folder.iterdir()))}.json"
    (folder / file).write_text(json.dumps(wanted))
    return {
        "objects": applied.summary(wanted),
        "labels": applied.label_keys(wanted),
        "owner": owner,
        "adopt": False,
        "file": file,
        "context": cluster.context,
        "kubeconfig": str(cluster.kubeconfig),
        "clusterUid": api.cluster_uid(),
        **more,
    }


def names(cluster: Cluster, namespace: str) -> list[str]:
    """The objects of ours in a namespace, as the resource names them."""
    found = json.loads(cluster.kubectl("get", "configmaps,prometheusrules", "-n", namespace, "-o", "json"))["items"]
    return sorted(applied.name_of(one) for one in found if one["metadata"]["name"] != "kube-root-ca.crt")


def test_they_are_applied_moved_to_another_namespace_and_removed(cluster: Cluster, api: Api, folder: Path) -> None:
    provider, (first, second) = _ObjectsProvider(), NAMESPACES
    inputs = props(cluster, api, folder, documents(first))
    assert len(inputs["objects"]) == 11
    assert provider.check({}, inputs).failures == []
    created = provider.create(inputs)
    assert names(cluster, first) == sorted(inputs["objects"])
    assert provider.read(created.id or "", created.outs or {}).outs == created.outs
    moved = props(cluster, api, folder, documents(second))
    assert provider.diff("", inputs, moved).changes
    provider.update("", inputs, moved)
    assert (names(cluster, first), names(cluster, second)) == ([], sorted(moved["objects"]))
    fewer = props(cluster, api, folder, documents(second)[:1])
    provider.update("", moved, fewer)
    assert names(cluster, second) == sorted(fewer["objects"])
    provider.delete("", fewer)
    assert names(cluster, second) == []


def test_what_somebody_edited_or_deleted_is_drift_and_the_next_update_restores_it(
    cluster: Cluster, api: Api, folder: Path
) -> None:
    provider, namespace = _ObjectsProvider(), NAMESPACES[0]
    inputs = props(cluster, api, folder, documents(namespace))
    provider.create(inputs)
    within = ("-n", namespace)
    rule = next(name for name in inputs["objects"] if name.endswith("raycluster-autoscaler")).rpartition("/")[2]
    cluster.kubectl(
        "patch", "configmap", "ray-on-kubernetes", *within, "-p", '{"data": {"rayOnKubernetes.json": "{}"}}'
    )
    cluster.kubectl("patch", "prometheusrule", rule, *within, "--type=merge", "-p", '{"spec": {"groups": []}}')
    cluster.kubectl("label", "configmap", "ray-data-dashboard", *within, "grafana_dashboard-")
    cluster.kubectl("delete", "configmap", "ray-default-dashboard", *within)
    # A label of somebody else is none of the stack's business.
    cluster.kubectl("label", "configmap", "ray-serve-dashboard", *within, "team=a")
    (folder / inputs["file"]).unlink()  # a refresh on another machine has no files of this one
    found = (provider.read("monitoring", inputs).outs or {})["objects"]
    changed = sorted(name.rpartition("/")[2] for name in found if found[name] != inputs["objects"][name])
    assert changed == sorted(["ray-data-dashboard", "ray-default-dashboard", "ray-on-kubernetes", rule])
    again = props(cluster, api, folder, documents(namespace))
    provider.update("", {**inputs, "objects": found}, again)
    assert (provider.read("monitoring", again).outs or {})["objects"] == inputs["objects"]
    provider.delete("", inputs)


def test_a_context_that_is_gone_and_a_renamed_stack_are_an_update_like_any_other(
    cluster: Cluster, api: Api, folder: Path
) -> None:
    provider, namespace = _ObjectsProvider(), NAMESPACES[0]
    inputs = props(cluster, api, folder, documents(namespace))
    provider.create(inputs)
    renamed = props(cluster, api, folder, documents(namespace)[:-1], owner="organization/ray-on-kubernetes/renamed")
    assert provider.check(inputs, renamed).failures == []
    provider.update("", {**inputs, "context": "gone", "kubeconfig": "/nowhere"}, renamed)
    assert names(cluster, namespace) == sorted(renamed["objects"])
    provider.delete("", renamed)
    assert names(cluster, namespace) == []


def test_when_all_are_gone_the_resource_is_gone_and_another_folder_or_label_is_a_change(
    cluster: Cluster, api: Api, folder: Path
) -> None:
    provider, namespace = _ObjectsProvider(), NAMESPACES[0]
    inputs = props(cluster, api, folder, documents(namespace))
    assert not provider.read("monitoring", inputs).id
    for change in ({"folder": "Teams"}, {"label": "another"}):
        assert provider.diff("", inputs, props(cluster, api, folder, documents(namespace, **change))).changes


def test_those_of_another_stack_are_refused_by_name_and_left_alone(cluster: Cluster, api: Api, folder: Path) -> None:
    provider, wanted = _ObjectsProvider(), documents(NAMESPACES[0])
    theirs, ours = (props(cluster, api, folder, wanted, owner=owner) for owner in (THEIRS, OURS))
    provider.create(theirs)
    (failure,) = provider.check({}, ours).failures
    assert failure.reason.startswith("already on the cluster, and not of this stack: ConfigMap grafana-a/ray-data-")
    with pytest.raises(StackError, match=r"monitoring: already on the cluster"):
        provider.create(ours)
    provider.delete("", ours)
    assert names(cluster, NAMESPACES[0]) == sorted(theirs["objects"])
    adopting = {**ours, "adopt": True}
    assert provider.check({}, adopting).failures == []
    provider.create(adopting)
    provider.delete("", theirs)  # the other stack's destroy leaves what was taken over
    assert names(cluster, NAMESPACES[0]) == sorted(theirs["objects"])
    provider.delete("", adopting)


def test_another_cluster_behind_the_context_stops_it(cluster: Cluster, api: Api, folder: Path) -> None:
    elsewhere = props(cluster, api, folder, documents(NAMESPACES[0]), clusterUid="another")
    with pytest.raises(StackError, match="leads to another cluster"):
        _ObjectsProvider().delete("", elsewhere)
