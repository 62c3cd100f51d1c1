"""Every manifest of the stack files and of every option, on a real API server under the real CRDs.

Server-side apply as a dry run with strict validation: an unknown field is refused, nothing is left behind.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.cluster import crds as cluster_crds
from components.cluster.api import Api
from components.kuberay import overlay, source
from components.kuberay.crds import crd_documents
from components.settings import from_config, from_stack_file, parse
from tests.support import prometheus
from tests.support.cluster import Cluster, ClusterError
from tests.support.documents import all_stack_files
from tests.support.trees import VERSIONS, tree
from tests.unit.components.golden_cases import CASES, OPERATOR_CASES, manifests, settings

OWNER = "organization/ray-on-kubernetes/test-manifests"
NAMESPACE = "test-manifests"
STACK_FILES = sorted(source.ROOT.glob("Pulumi.*.yaml"))
EXAMPLES = all_stack_files()


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> Iterator[str]:
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    cluster.apply([manifest])
    yield NAMESPACE
    cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.fixture(scope="module")
def monitoring_crds(cluster: Cluster) -> Iterator[None]:
    """prometheus-operator's CRDs of the kinds that a stack makes, where its module can be fetched."""
    if prometheus.problem():
        yield
        return
    with prometheus.with_crds(cluster):
        yield


@pytest.fixture(scope="module")
def crds(cluster: Cluster, monitoring_crds: None) -> Iterator[None]:
    """The pinned version's CRDs: those of another installation where they are the same, or ours for the time."""
    api = Api(str(cluster.kubeconfig), cluster.context)
    documents = crd_documents(tree("v1.7.0"))
    names = [document["metadata"]["name"] for document in documents]
    if cluster_crds.foreign(api, names, OWNER):
        if cluster_crds.pending_changes(api, documents):
            pytest.skip("other CRDs of KubeRay are on this cluster, from another installation")
        yield
        return
    cluster_crds.apply(api, documents, version="v1.7.0", owner=OWNER)
    yield
    cluster_crds.remove(api, names)


def moved(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same objects in the test's namespace, which alone is there: a dry run makes none for the next."""
    found = copy.deepcopy(documents)
    for one in found:
        if "namespace" in one["metadata"]:
            one["metadata"]["namespace"] = NAMESPACE
    return found


def accept(cluster: Cluster, documents: list[dict[str, Any]]) -> None:
    if (lacks := prometheus.problem()) and any(prometheus.GROUP in document["apiVersion"] for document in documents):
        pytest.skip(f"the CRDs of prometheus-operator cannot be had: {lacks}")
    answer = cluster.kubectl(
        *("apply", "--server-side", "--dry-run=server", "--validate=strict", "--force-conflicts", "-f", "-"),
        stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": moved(documents)}),
    )
    assert len(answer.splitlines()) == len(documents), answer


@pytest.mark.parametrize("file", STACK_FILES, ids=lambda file: file.name)
def test_every_manifest_of_a_stack_file_is_accepted(file: Path, cluster: Cluster, crds: None, namespace: str) -> None:
    accept(cluster, manifests(from_stack_file(file)))


@pytest.mark.parametrize("name", [name for name, config in EXAMPLES.items() if "v0.3.0" not in str(config)])
def test_every_manifest_of_a_documented_stack_file_is_accepted(
    name: str, cluster: Cluster, crds: None, namespace: str
) -> None:
    accept(cluster, manifests(from_config(EXAMPLES[name])))


@pytest.mark.parametrize("name", [name for name in CASES if name not in ("v0.3.0",)])
def test_every_manifest_of_an_option_is_accepted(name: str, cluster: Cluster, crds: None, namespace: str) -> None:
    accept(cluster, manifests(settings(name)))


def test_an_unknown_field_would_be_refused(cluster: Cluster, crds: None, namespace: str) -> None:
    documents = manifests(settings("default"))
    documents[-1]["spec"]["authOption"] = {"mode": "token"}
    with pytest.raises(ClusterError, match="authOption"):
        accept(cluster, documents)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "kuberay",
    [{}, {"watchNamespaces": [NAMESPACE]}, OPERATOR_CASES["operator/pod"]],
    ids=["cluster", "namespaced", "pod"],
)
def test_every_object_of_the_operators_overlay_is_accepted(
    version: str, kuberay: dict[str, Any], cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    wanted = parse({"kuberay": {"version": version, "namespace": NAMESPACE, **kuberay}, "clusters": []}).kuberay
    _, operator = overlay.write(wanted, tree(version), "test", root=tmp_path)
    rendered = cluster.kubectl("kustomize", str(tmp_path / operator))
    cluster.kubectl("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-", stdin=rendered)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_crds_of_every_version_are_accepted(version: str, cluster: Cluster) -> None:
    documents = copy.deepcopy(crd_documents(tree(version)))
    for crd in documents:
        # Another group: the API server lets no version go that it has stored, whatever version is installed here.
        crd["spec"]["group"] = "test-manifests.example.com"
        crd["metadata"]["name"] = f"{crd['spec']['names']['plural']}.test-manifests.example.com"
    cluster.kubectl(
        *("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-"),
        stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}),
    )
