"""KubeRay's CRDs on a real API server: applied, drifted, upgraded, refused, removed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from components.cluster import crds
from components.cluster.api import Api
from components.errors import ClusterError
from components.kuberay.crds import crd_documents
from tests.support.cluster import Cluster
from tests.support.trees import tree

OWNER = "organization/ray-on-kubernetes/test"
NAMES = ["rayclusters.ray.io", "raycronjobs.ray.io", "rayjobs.ray.io", "rayservices.ray.io"]


@pytest.fixture(scope="module")
def api(cluster: Cluster) -> Iterator[Api]:
    api = Api(str(cluster.kubeconfig), cluster.context)
    if crds.foreign(api, NAMES, OWNER):
        pytest.skip("KubeRay's CRDs are on this cluster already, from another installation")
    yield api
    crds.remove(api, NAMES)


def test_an_upgrade_is_named_field_by_field_and_happens_in_place(api: Api) -> None:
    old, new = crd_documents(tree("v1.6.2")), crd_documents(tree("v1.7.0"))
    crds.apply(api, old, version="v1.6.2", owner=OWNER)
    before = crds.get(api, "rayclusters.ray.io")
    line = next(line for line in crds.pending_changes(api, new) if line.startswith("rayclusters.ray.io"))
    assert "adds spec.autoscalerOptions.args" in line
    assert "REMOVES spec.headGroupSpec.template.spec.workloadRef" in line
    crds.apply(api, new, version="v1.7.0", owner=OWNER)
    after = crds.get(api, "rayclusters.ray.io")
    assert before is not None
    assert after is not None
    assert before["metadata"]["uid"] == after["metadata"]["uid"]
    assert crds.pending_changes(api, new) == []


def test_a_field_edited_by_hand_is_drift_and_the_next_apply_takes_it_back(api: Api, cluster: Cluster) -> None:
    documents = crd_documents(tree("v1.7.0"))
    applied = crds.apply(api, documents, version="v1.7.0", owner=OWNER)
    patch = '[{"op": "replace", "path": "/spec/names/categories", "value": ["edited"]}]'
    cluster.kubectl("patch", "crd", "rayjobs.ray.io", "--type=json", "-p", patch)
    found = crds.live_digests(api, NAMES)
    assert [name for name in NAMES if found[name] != applied[name]] == ["rayjobs.ray.io"]
    assert crds.apply(api, documents, version="v1.7.0", owner=OWNER) == applied


def test_crds_of_another_stack_are_foreign(api: Api) -> None:
    crds.apply(api, crd_documents(tree("v1.7.0")), version="v1.7.0", owner=OWNER)
    assert crds.foreign(api, NAMES, OWNER) == []
    assert crds.foreign(api, NAMES, "organization/ray-on-kubernetes/other") == NAMES


def test_no_crd_is_removed_while_an_object_of_its_kind_is_left(api: Api, cluster: Cluster) -> None:
    crds.apply(api, crd_documents(tree("v1.7.0")), version="v1.7.0", owner=OWNER)
    container = {"name": "ray-head", "image": "rayproject/ray:2.60.0"}
    spec = {"headGroupSpec": {"template": {"spec": {"containers": [container]}}}}
    metadata = {"name": "left", "namespace": "default"}
    cluster.apply([{"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": metadata, "spec": spec}])
    try:
        with pytest.raises(ClusterError, match="RayCluster default/left"):
            crds.remove(api, NAMES)
        assert all(crds.live_digests(api, NAMES).values())
    finally:
        cluster.kubectl("delete", "raycluster", "left", "-n", "default")


def test_no_annotation_of_client_side_apply_is_ever_written(api: Api) -> None:
    crds.apply(api, crd_documents(tree("v1.7.0")), version="v1.7.0", owner=OWNER)
    live = crds.get(api, "rayclusters.ray.io")
    assert live is not None
    assert "kubectl.kubernetes.io/last-applied-configuration" not in live["metadata"]["annotations"]
