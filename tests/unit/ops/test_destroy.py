"""Which objects and jobs a destroy would take along, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from components.cluster.api import Api
from ops import destroy, engine, stack_objects
from tests.support.api_server import api_server
from tests.unit.ops.recorded import RESOURCES, named


def test_in_its_own_namespaces_everything_that_the_stack_did_not_make_is_foreign() -> None:
    own = stack_objects.objects(RESOURCES)
    by_hand, elsewhere = named("RayJob", "ray-cluster", "nightly"), named("RayCluster", "other", "theirs")
    mine = next(entry for entry in own if entry.kind == "RayCluster")
    assert destroy.foreign_objects(
        [by_hand, elsewhere, mine], own, destroy.affected_namespaces(without("Deployment", "CRDs"))
    ) == [by_hand]


def without(*types: str) -> list[dict[str, Any]]:
    return [resource for resource in RESOURCES if not resource["type"].endswith(tuple(f":{type_}" for type_ in types))]


def operator(*args: str) -> dict[str, Any]:
    """The operator's Deployment as the state has it."""
    found = next(
        one for one in RESOURCES if one["urn"].endswith("Deployment::kuberay-operator:ray-system/kuberay-operator")
    )
    spec = {"template": {"spec": {"containers": [{"name": "kuberay-operator", "args": [*args]}]}}}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": found["outputs"]["metadata"]}
    return {**found, "type": "kubernetes:apps/v1:Deployment", "outputs": {**deployment, "spec": spec}}


def test_with_the_operator_every_raycluster_on_the_cluster_loses_its_keeper() -> None:
    """Retained CRDs, or somebody else's, keep the objects and not what looks after them."""
    own, elsewhere = stack_objects.objects(RESOURCES), named("RayCluster", "other", "theirs")
    kept = [{**one, "retainOnDelete": one["type"].endswith("kuberay:CRDs")} for one in RESOURCES]
    for resources in (kept, without("CRDs")):
        assert destroy.foreign_objects([elsewhere], own, destroy.affected_namespaces(resources)) == [elsewhere]


def test_an_operator_that_watches_some_namespaces_is_missed_in_those_alone() -> None:
    resources = [
        *without("Deployment", "CRDs"),
        operator("--enable-leader-election=true", "--watch-namespace=guest,more"),
    ]
    theirs = [named("RayCluster", namespace, "theirs") for namespace in ("guest", "other")]
    assert (
        destroy.foreign_objects(theirs, stack_objects.objects(resources), destroy.affected_namespaces(resources))
        == theirs[:1]
    )


def test_crds_that_go_end_every_raycluster_wherever_the_operator_watches() -> None:
    assert destroy.affected_namespaces([*without("Deployment"), operator("--watch-namespace", "guest")]) is None


def test_a_protected_stack_is_not_destroyed_and_no_job_of_it_stopped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    resources = [{**one, "protect": one["type"] == "kubernetes:ray.io/v1:RayCluster"} for one in RESOURCES]
    monkeypatch.setattr(engine, "stack_state", lambda *_, **__: resources)
    monkeypatch.setattr(stack_objects, "connect", lambda *_: pytest.fail("the cluster was reached"))
    assert destroy.destroy("prod", others="delete", jobs="stop") == 1
    said = capsys.readouterr().err
    assert "not destroyed: the stack is protected (second/second). To end it: set `protect: false`" in said


@pytest.mark.parametrize(
    ("others", "where", "refused"),
    [
        ("refuse", "ray-cluster", "RayJob ray-cluster/theirs. Delete them first, or let `--others delete` delete them"),
        ("delete", "ray-cluster", ""),
        ("delete", "elsewhere", "RayJob elsewhere/theirs. Delete them first"),
    ],
)
def test_only_in_the_stacks_own_namespaces_may_others_work_be_deleted(others: str, where: str, refused: str) -> None:
    problems = destroy.foreign_problems([named("RayJob", where, "theirs")], stack_objects.objects(RESOURCES), others)
    assert problems == ([f"made outside this stack: {refused}"] if refused else [])


def test_ray_objects_are_found_in_the_version_that_the_cluster_serves(tmp_path: Path) -> None:
    def listing(version: str, *names: str) -> dict[str, Any]:
        items = [{"metadata": {"namespace": "ns", "name": name}} for name in names]
        return {"apiVersion": f"ray.io/{version}", "items": items}

    served = {
        "/apis/ray.io/v1/rayclusters": listing("v1", "new"),
        "/apis/ray.io/v1alpha1/rayjobs": listing("v1alpha1", "old"),
    }
    with api_server(tmp_path, served) as kubeconfig:
        found = destroy.ray_objects(Api(str(kubeconfig), "test"))
    assert [entry.path for entry in found] == [
        "/apis/ray.io/v1/namespaces/ns/rayclusters/new",
        "/apis/ray.io/v1alpha1/namespaces/ns/rayjobs/old",
    ]


def test_only_a_cluster_that_is_there_and_awake_is_asked_for_jobs() -> None:
    clusters = [{"namespace": "ns", "name": name} for name in ("awake", "suspended", "gone", "new")]
    there: list[tuple[stack_objects.Object, dict[str, Any]]] = [
        (named("RayCluster", "ns", "awake"), {"status": {"state": "ready"}}),
        (named("RayCluster", "ns", "suspended"), {"status": {"state": "suspended"}}),
        (named("RayCluster", "ns", "new"), {}),
        (named("RayService", "ns", "gone"), {}),
    ]
    assert [cluster["name"] for cluster in destroy.clusters_with_head(clusters, there)] == ["awake", "new"]
