"""A stack's objects: listed from a state recorded from the engine, asked of an API server, judged before a destroy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.cluster.api import Api, ClusterError
from components.resources.kubernetes_object import object_path, plural
from ops import destroy, engine, inventory, recover
from tests.unit.components.api_server import UID, api_server

DATA = Path(__file__).with_name("data")
GOLDEN = Path(__file__).parents[1] / "components" / "golden"
STATE = json.loads((DATA / "state-halfway.json").read_text())
"""An `up` that had just begun to create one RayCluster of two."""
RESOURCES = STATE["resources"]
RESOURCE_NAMES = {
    (entry["apiVersion"].rpartition("/")[0], entry["kind"]): entry
    for entry in json.loads((DATA / "api-resources.json").read_text())
}
"""What a real API server (v1.34) calls its kinds, by group and kind."""
OURS = "/apis/ray.io/v1/namespaces/ray-cluster/rayclusters/raycluster-autoscaler"


def declared_kinds() -> set[tuple[str, str]]:
    """Group and kind of everything that the program declares: in the golden manifests and in the recorded state."""
    documents = [d for file in GOLDEN.glob("*.yaml") for d in yaml.safe_load_all(file.read_text()) if d]
    inputs = [r.get("inputs") or {} for r in RESOURCES if r["type"].startswith("kubernetes:")]
    return {
        (entry["apiVersion"].rpartition("/")[0], entry["kind"]) for entry in [*documents, *inputs] if "kind" in entry
    }


def named(kind: str, namespace: str, name: str) -> inventory.Object:
    return inventory.Object(kind, namespace, name, object_path("ray.io/v1", kind, namespace, name))


# The inventory.


def test_every_kind_of_ours_is_asked_for_under_the_name_that_a_real_api_server_has_for_it() -> None:
    kinds = declared_kinds()
    assert {"RayCluster", "NetworkPolicy", "Namespace", "Ingress"} <= {kind for _, kind in kinds}
    assert {key: plural(key[1]) for key in kinds} == {key: RESOURCE_NAMES[key]["plural"] for key in kinds}


def test_the_state_lists_every_object_and_none_that_only_groups_others() -> None:
    listed = inventory.objects(RESOURCES)
    kinds = {entry.kind for entry in listed}
    assert kinds >= {"Namespace", "Deployment", "RayCluster", "NetworkPolicy", "CustomResourceDefinition"}
    assert not kinds & {"Directory", "CRDs", "ClusterIdentity"}
    assert [entry.name for entry in listed if entry.kind == "CustomResourceDefinition"] == [
        "rayclusters.ray.io",
        "raycronjobs.ray.io",
        "rayjobs.ray.io",
        "rayservices.ray.io",
    ]


def test_an_objects_path_has_its_namespace_where_its_kind_has_one() -> None:
    for entry in inventory.objects(RESOURCES):
        inside, resource = f"/namespaces/{entry.namespace}" if entry.namespace else "", plural(entry.kind)
        version = entry.path.removesuffix(f"{inside}/{resource}/{entry.name}").partition("/api")[2].lstrip("s/")
        known = RESOURCE_NAMES[version.rpartition("/")[0], entry.kind]
        assert known["namespaced"] == bool(entry.namespace), entry


def test_what_the_stack_only_reads_is_not_its_own() -> None:
    read = [{**resource, "external": True} for resource in RESOURCES if resource["type"].startswith("kubernetes:core")]
    assert inventory.objects(read) == []


def test_retained_crds_are_known_from_the_state() -> None:
    kept = [{**resource, "retainOnDelete": True} for resource in RESOURCES if resource["type"].endswith("kuberay:CRDs")]
    assert {entry.retained for entry in inventory.objects(kept)} == {True}
    assert not any(entry.retained for entry in inventory.objects(RESOURCES))


def test_nothing_is_left_is_what_the_api_server_says(tmp_path: Path) -> None:
    gone, there = named("RayCluster", "ns", "gone"), named("RayCluster", "ns", "there")
    kept = inventory.Object("RayCluster", "ns", "kept", there.path.replace("there", "kept"), retained=True)
    with api_server(tmp_path, {there.path: {"metadata": {"name": "there"}}, kept.path: {"metadata": {}}}) as kubeconfig:
        api = Api(str(kubeconfig), "test")
        left = inventory.wait_until_gone(api, [gone, there, kept], seconds=0)
        assert inventory.wait_until_gone(api, [gone, kept], seconds=0) == []
    assert [entry for entry, _ in left] == [there]


def test_a_stuck_object_is_told_with_its_finalizers_and_conditions() -> None:
    metadata = {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["ray.io/gcs-ft-redis-cleanup-finalizer"]}
    told = inventory.why_stuck({"metadata": metadata})
    assert told == "being deleted since 2026-01-01T00:00:00Z; finalizers ray.io/gcs-ft-redis-cleanup-finalizer"


def test_a_stuck_namespace_says_what_is_still_in_it() -> None:
    message = "Some resources are remaining: rayclusters.ray.io has 1 resource instances"
    conditions = [
        {"type": "NamespaceContentRemaining", "status": "True", "message": message},
        {"type": "NamespaceDeletionDiscoveryFailure", "status": "False", "message": "all discovered"},
    ]
    metadata = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
    told = inventory.why_stuck(
        {"metadata": metadata, "spec": {"finalizers": ["kubernetes"]}, "status": {"conditions": conditions}}
    )
    assert "finalizers kubernetes" in told
    assert message in told
    assert "all discovered" not in told


def test_an_object_that_nobody_deleted_says_so() -> None:
    assert inventory.why_stuck({"metadata": {}}) == "nobody asked to delete it"


# What a destroy would take along.


def test_in_its_own_namespaces_everything_that_the_stack_did_not_make_is_foreign() -> None:
    own = inventory.objects(RESOURCES)
    by_hand, elsewhere = named("RayJob", "ray-cluster", "nightly"), named("RayCluster", "other", "theirs")
    mine = next(entry for entry in own if entry.kind == "RayCluster")
    assert destroy.foreign([by_hand, elsewhere, mine], own, destroy.reach(without("Deployment", "CRDs"))) == [by_hand]


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
    own, elsewhere = inventory.objects(RESOURCES), named("RayCluster", "other", "theirs")
    kept = [{**one, "retainOnDelete": one["type"].endswith("kuberay:CRDs")} for one in RESOURCES]
    for state in (kept, without("CRDs")):
        assert destroy.foreign([elsewhere], own, destroy.reach(state)) == [elsewhere]


def test_an_operator_that_watches_some_namespaces_is_missed_in_those_alone() -> None:
    state = [*without("Deployment", "CRDs"), operator("--enable-leader-election=true", "--watch-namespace=guest,more")]
    theirs = [named("RayCluster", namespace, "theirs") for namespace in ("guest", "other")]
    assert destroy.foreign(theirs, inventory.objects(state), destroy.reach(state)) == theirs[:1]


def test_crds_that_go_end_every_raycluster_wherever_the_operator_watches() -> None:
    assert destroy.reach([*without("Deployment"), operator("--watch-namespace", "guest")]) is None


def test_a_protected_stack_is_not_destroyed_and_no_job_of_it_stopped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = [{**one, "protect": one["type"] == "kubernetes:ray.io/v1:RayCluster"} for one in RESOURCES]
    monkeypatch.setattr(engine, "stack_state", lambda *_, **__: state)
    monkeypatch.setattr(destroy, "connect", lambda *_: pytest.fail("the cluster was reached"))
    assert destroy.destroy("prod", others="delete", jobs="stop") == 1
    said = capsys.readouterr().err
    assert "not destroyed: the stack is protected (second/second). To end it: set `protect: false`" in said


@pytest.mark.parametrize(
    ("others", "where", "refused"),
    [
        ("refuse", "ray-cluster", "RayJob ray-cluster/theirs. Delete them first; `--others delete` takes them along"),
        ("delete", "ray-cluster", ""),
        ("delete", "elsewhere", "RayJob elsewhere/theirs. Delete them first"),
    ],
)
def test_only_in_the_stacks_own_namespaces_may_others_work_be_deleted(others: str, where: str, refused: str) -> None:
    problems = destroy.about_others([named("RayJob", where, "theirs")], inventory.objects(RESOURCES), others)
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
    there: list[tuple[inventory.Object, dict[str, Any]]] = [
        (named("RayCluster", "ns", "awake"), {"status": {"state": "ready"}}),
        (named("RayCluster", "ns", "suspended"), {"status": {"state": "suspended"}}),
        (named("RayCluster", "ns", "new"), {}),
        (named("RayService", "ns", "gone"), {}),
    ]
    assert [cluster["name"] for cluster in destroy.with_a_head(clusters, there)] == ["awake", "new"]


def test_a_stack_is_destroyed_on_its_own_cluster_alone(tmp_path: Path) -> None:
    with api_server(tmp_path) as kubeconfig:
        assert destroy.connect(RESOURCES, {"KUBECONFIG": str(kubeconfig)}).cluster_uid() == UID
        other = json.loads(json.dumps(RESOURCES).replace(UID, "00000000-another"))
        with pytest.raises(destroy.Refused, match="leads to another cluster"):
            destroy.connect(other, {"KUBECONFIG": str(kubeconfig)})


def test_an_empty_state_is_said_to_be_destroyed_already() -> None:
    with pytest.raises(destroy.Refused, match="nothing was ever deployed, or it is destroyed already"):
        destroy.connect([])


def test_a_cluster_that_refuses_is_an_error_and_never_an_empty_inventory(tmp_path: Path) -> None:
    entry = named("RayCluster", "ns", "there")
    with api_server(tmp_path) as kubeconfig:
        api = Api(str(kubeconfig), "test")
    with pytest.raises(ClusterError):
        inventory.present(api, [entry])


# What an `up` that was killed had begun.


def test_a_creation_under_way_is_known_by_urn_id_and_path() -> None:
    ((urn, identifier, path),) = recover.under_way(STATE["pending_operations"])
    assert urn.endswith("kubernetes:ray.io/v1:RayCluster::ray-cluster/raycluster-autoscaler")
    assert identifier == "ray-cluster/raycluster-autoscaler"
    assert path == OURS


def test_an_object_without_a_namespace_has_its_name_for_an_id() -> None:
    inputs = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ray-cluster"}}
    pending = [{"type": "creating", "resource": {"urn": "u", "type": "kubernetes:core/v1:Namespace", "inputs": inputs}}]
    assert recover.under_way(pending) == [("u", "ray-cluster", "/api/v1/namespaces/ray-cluster")]


def test_updates_and_what_is_no_kubernetes_object_need_no_look_at_the_cluster() -> None:
    (creating,) = STATE["pending_operations"]
    identity = {
        **creating,
        "resource": {**creating["resource"], "type": "pulumi-python:dynamic/cluster:ClusterIdentity"},
    }
    assert recover.under_way([{**creating, "type": "updating"}, identity]) == []
