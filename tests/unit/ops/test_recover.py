"""Which creations an `up` had begun when it was killed."""

from __future__ import annotations

from ops import recover
from tests.unit.ops.recorded import STATE

OURS = "/apis/ray.io/v1/namespaces/ray-cluster/rayclusters/raycluster-autoscaler"


def test_a_creation_under_way_is_known_by_urn_id_and_path() -> None:
    ((urn, identifier, path),) = recover.pending_creations(STATE["pending_operations"])
    assert urn.endswith("kubernetes:ray.io/v1:RayCluster::ray-cluster/raycluster-autoscaler")
    assert identifier == "ray-cluster/raycluster-autoscaler"
    assert path == OURS


def test_an_object_without_a_namespace_has_its_name_for_an_id() -> None:
    inputs = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ray-cluster"}}
    pending = [{"type": "creating", "resource": {"urn": "u", "type": "kubernetes:core/v1:Namespace", "inputs": inputs}}]
    assert recover.pending_creations(pending) == [("u", "ray-cluster", "/api/v1/namespaces/ray-cluster")]


def test_updates_and_what_is_no_kubernetes_object_need_no_look_at_the_cluster() -> None:
    (creating,) = STATE["pending_operations"]
    identity = {
        **creating,
        "resource": {**creating["resource"], "type": "pulumi-python:dynamic/cluster:ClusterIdentity"},
    }
    assert recover.pending_creations([{**creating, "type": "updating"}, identity]) == []
