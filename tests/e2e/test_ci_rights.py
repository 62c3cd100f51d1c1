"""A preview with the rights of docs/ci-rbac.yaml and no others, as CI gives them to a pull request's code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.cluster import Cluster
from tests.support.stack import ROOT, Stack

NAMESPACE = "ci-rights"
ACCOUNT = f"system:serviceaccount:{NAMESPACE}:preview"


@pytest.fixture(scope="module")
def reader(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster as CI's preview sees it. The namespace has a Secret that the stack names."""
    role = yaml.safe_load((ROOT / "docs/ci-rbac.yaml").read_text())
    rbac = "rbac.authorization.k8s.io"
    cluster.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}])
    as_reader = cluster.as_service_account(NAMESPACE, "preview", [], tmp_path_factory.mktemp("reader") / "kubeconfig")
    binding = {
        "apiVersion": f"{rbac}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": NAMESPACE},
        "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": role["metadata"]["name"]},
        "subjects": [{"kind": "ServiceAccount", "name": "preview", "namespace": NAMESPACE}],
    }
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "ray-redis", "namespace": NAMESPACE}}
    cluster.apply([role, binding, {**secret, "stringData": {"password": "not-for-previews"}}])
    yield as_reader
    cluster.kubectl("delete", "clusterrolebinding", NAMESPACE)
    cluster.kubectl("delete", "clusterrole", role["metadata"]["name"])
    cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def in_own_namespace(settings: dict[str, Any]) -> None:
    settings["namespaces"] = {NAMESPACE: settings["namespaces"]["ray-cluster"]}
    for ray in settings["clusters"]:
        ray["namespace"] = NAMESPACE


@pytest.mark.needs("token authentication")
def test_a_preview_of_a_protected_stack_shows_every_change_and_names_the_secret_that_it_did_not_read(
    reader: Cluster, tmp_path: Path
) -> None:
    stack = Stack("ci-rights", tmp_path, reader.kubeconfig, reader.context, "prod")
    stack.configure(in_own_namespace)
    run = stack.preview()
    assert "Secret ci-rights/ray-redis" in run.text
    assert "not checked, because this user may not read it" in run.text
    assert {change.operation for change in run.changes} == {"create"}
    assert {"RayCluster", "Deployment"} <= {change.type.rpartition(":")[2] for change in run.changes}
    assert "not-for-previews" not in run.text


@pytest.mark.needs("token authentication")
def test_an_up_with_these_rights_is_refused(reader: Cluster, tmp_path: Path) -> None:
    stack = Stack("ci-rights", tmp_path, reader.kubeconfig, reader.context, "prod")
    stack.configure(in_own_namespace)
    run = stack.up(check=False)
    assert run.code != 0
    assert "not allowed" in run.text


@pytest.mark.parametrize(
    "right",
    [
        "get secrets",
        "list secrets",
        "create pods/portforward",
        "get pods/portforward",
        "create pods/exec",
        "get pods/exec",
        "get services/proxy",
        "get pods/proxy",
        "create rayjobs.ray.io",
        "patch rayclusters.ray.io",
        "create serviceaccounts/token",
        "impersonate users",
        "get pods/log",
    ],
)
def test_these_rights_lead_to_no_job_and_no_secret(right: str, cluster: Cluster, reader: Cluster) -> None:
    assert can(cluster, right) is False


def test_these_rights_do_read_the_objects_of_a_stack(cluster: Cluster, reader: Cluster) -> None:
    assert can(cluster, "list rayclusters.ray.io")
    assert can(cluster, "get deployments.apps")
    # A Deployment whose ReplicaSets cannot be read would look like drift.
    assert can(cluster, "list replicasets.apps")


def can(cluster: Cluster, right: str) -> bool:
    verb, resource = right.split()
    name, _, group = resource.partition(".")
    name, _, subresource = name.partition("/")
    attributes = {"namespace": NAMESPACE, "verb": verb, "group": group, "resource": name, "subresource": subresource}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": ACCOUNT, "resourceAttributes": attributes},
    }
    answer = cluster.kubectl("create", "-f", "-", "-o", "json", stdin=json.dumps(review))
    return bool(json.loads(answer)["status"]["allowed"])
