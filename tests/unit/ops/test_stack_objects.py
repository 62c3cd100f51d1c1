"""A stack's objects: listed from a recorded state, and asked of an API server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from components.cluster.api import Api
from components.cluster.paths import plural
from components.errors import ClusterError
from ops import stack_objects
from ops.errors import Refused
from tests.support.api_server import UID, api_server
from tests.unit.ops.recorded import DATA, RESOURCES, named

GOLDEN = Path(__file__).parents[1] / "components" / "golden"
RESOURCE_NAMES = {
    (entry["apiVersion"].rpartition("/")[0], entry["kind"]): entry
    for entry in json.loads((DATA / "api-resources.json").read_text())
}
"""The kinds of a real API server (v1.34), by group and kind."""


def declared_kinds() -> set[tuple[str, str]]:
    """Group and kind of everything that the program declares: in the golden manifests and in the recorded state."""
    documents = [d for file in GOLDEN.glob("*.yaml") for d in yaml.safe_load_all(file.read_text()) if d]
    inputs = [r.get("inputs") or {} for r in RESOURCES if r["type"].startswith("kubernetes:")]
    return {
        (entry["apiVersion"].rpartition("/")[0], entry["kind"]) for entry in [*documents, *inputs] if "kind" in entry
    }


def test_every_kind_of_ours_is_asked_for_under_the_name_that_a_real_api_server_has_for_it() -> None:
    kinds = declared_kinds()
    assert {"RayCluster", "NetworkPolicy", "Namespace", "Ingress"} <= {kind for _, kind in kinds}
    assert {key: plural(key[1]) for key in kinds} == {key: RESOURCE_NAMES[key]["plural"] for key in kinds}


def test_the_state_lists_every_object_and_none_that_only_groups_others() -> None:
    listed = stack_objects.objects(RESOURCES)
    kinds = {entry.kind for entry in listed}
    assert kinds >= {"Namespace", "Deployment", "RayCluster", "NetworkPolicy", "CustomResourceDefinition"}
    assert not kinds & {"Directory", "CRDs", "ClusterIdentity"}
    assert [entry.name for entry in listed if entry.kind == "CustomResourceDefinition"] == [
        "rayclusters.ray.io",
        "raycronjobs.ray.io",
        "rayjobs.ray.io",
        "rayservices.ray.io",
    ]


def test_the_rules_and_dashboards_that_go_around_the_engine_are_listed_too() -> None:
    names = ["ConfigMap monitoring/ray-on-kubernetes", "PrometheusRule ray-cluster/ray"]
    outputs = {"objects": dict.fromkeys(names, "digest")}
    listed = stack_objects.objects([{"type": "pulumi-python:dynamic/monitoring:Objects", "outputs": outputs}])
    assert list(map(str, listed)) == names
    assert [entry.path for entry in listed] == [
        "/api/v1/namespaces/monitoring/configmaps/ray-on-kubernetes",
        "/apis/monitoring.coreos.com/v1/namespaces/ray-cluster/prometheusrules/ray",
    ]


def test_an_objects_path_has_its_namespace_where_its_kind_has_one() -> None:
    for entry in stack_objects.objects(RESOURCES):
        inside, resource = f"/namespaces/{entry.namespace}" if entry.namespace else "", plural(entry.kind)
        version = entry.path.removesuffix(f"{inside}/{resource}/{entry.name}").partition("/api")[2].lstrip("s/")
        known = RESOURCE_NAMES[version.rpartition("/")[0], entry.kind]
        assert known["namespaced"] == bool(entry.namespace), entry


def test_what_the_stack_only_reads_is_not_its_own() -> None:
    read = [{**resource, "external": True} for resource in RESOURCES if resource["type"].startswith("kubernetes:core")]
    assert stack_objects.objects(read) == []


def test_retained_crds_are_known_from_the_state() -> None:
    kept = [{**resource, "retainOnDelete": True} for resource in RESOURCES if resource["type"].endswith("kuberay:CRDs")]
    assert {entry.retained for entry in stack_objects.objects(kept)} == {True}
    assert not any(entry.retained for entry in stack_objects.objects(RESOURCES))


def test_nothing_is_left_is_what_the_api_server_says(tmp_path: Path) -> None:
    gone, there = named("RayCluster", "ns", "gone"), named("RayCluster", "ns", "there")
    kept = stack_objects.Object("RayCluster", "ns", "kept", there.path.replace("there", "kept"), retained=True)
    with api_server(tmp_path, {there.path: {"metadata": {"name": "there"}}, kept.path: {"metadata": {}}}) as kubeconfig:
        api = Api(str(kubeconfig), "test")
        left = stack_objects.wait_until_gone(api, [gone, there, kept], seconds=0)
        assert stack_objects.wait_until_gone(api, [gone, kept], seconds=0) == []
    assert [entry for entry, _ in left] == [there]


def test_a_stuck_object_is_told_with_its_finalizers_and_conditions() -> None:
    metadata = {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["ray.io/gcs-ft-redis-cleanup-finalizer"]}
    told = stack_objects.why_stuck({"metadata": metadata})
    assert told == "being deleted since 2026-01-01T00:00:00Z; finalizers ray.io/gcs-ft-redis-cleanup-finalizer"


def test_a_stuck_namespace_says_what_is_still_in_it() -> None:
    message = "Some resources are remaining: rayclusters.ray.io has 1 resource instances"
    conditions = [
        {"type": "NamespaceContentRemaining", "status": "True", "message": message},
        {"type": "NamespaceDeletionDiscoveryFailure", "status": "False", "message": "all discovered"},
    ]
    metadata = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
    told = stack_objects.why_stuck(
        {"metadata": metadata, "spec": {"finalizers": ["kubernetes"]}, "status": {"conditions": conditions}}
    )
    assert "finalizers kubernetes" in told
    assert message in told
    assert "all discovered" not in told


def test_an_object_that_nobody_deleted_says_so() -> None:
    assert stack_objects.why_stuck({"metadata": {}}) == "it was not deleted"


def test_a_stack_is_destroyed_on_its_own_cluster_alone(tmp_path: Path) -> None:
    with api_server(tmp_path) as kubeconfig:
        assert stack_objects.connect(RESOURCES, {"KUBECONFIG": str(kubeconfig)}).cluster_uid() == UID
        other = json.loads(json.dumps(RESOURCES).replace(UID, "00000000-another"))
        with pytest.raises(Refused, match="leads to another cluster"):
            stack_objects.connect(other, {"KUBECONFIG": str(kubeconfig)})


def test_an_empty_state_is_said_to_be_destroyed_already() -> None:
    with pytest.raises(Refused, match="nothing was ever deployed, or it is destroyed already"):
        stack_objects.connect([])


def test_a_cluster_that_refuses_is_an_error_and_never_an_empty_inventory(tmp_path: Path) -> None:
    entry = named("RayCluster", "ns", "there")
    with api_server(tmp_path) as kubeconfig:
        api = Api(str(kubeconfig), "test")
    with pytest.raises(ClusterError):
        stack_objects.find_on_cluster(api, [entry])
