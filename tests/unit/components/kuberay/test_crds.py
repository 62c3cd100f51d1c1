"""The CRDs in KubeRay's files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components.errors import StackError
from components.kuberay import crds, overlay
from components.kuberay.crds import crd_documents
from components.settings import parse
from tests.support.trees import VERSIONS, tree
from tests.unit.components.kustomize import kustomize


@pytest.mark.parametrize("version", VERSIONS)
def test_the_crds_are_read_as_kustomize_renders_them(version: str, tmp_path: Path) -> None:
    settings = parse({"kuberay": {"version": version}, "clusters": []}).kuberay
    folder, _ = overlay.write(settings, tree(version), "test", root=tmp_path)
    by_name = {document["metadata"]["name"]: document for document in crd_documents(tree(version))}
    assert {document["metadata"]["name"]: document for document in kustomize(tmp_path / folder)} == by_name
    assert "rayclusters.ray.io" in by_name


def test_a_cached_file_of_another_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = "v0.3.0"  # the smallest CRDs
    monkeypatch.setattr(crds, "CACHE", tmp_path)
    documents = crd_documents(tree(version))
    (cached,) = (tmp_path / "crds").iterdir()
    assert crd_documents(tree(version)) == documents
    changed = json.loads(cached.read_text())
    changed[0]["spec"]["conversion"] = {"strategy": "Webhook"}
    for data in (json.dumps(changed).encode(), b"{", b"[]", b"\xff"):
        cached.write_bytes(data)
        assert crd_documents(tree(version)) == documents
        assert json.loads(cached.read_text()) == documents


def test_crds_without_a_recorded_digest_are_parsed_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = tmp_path / "crd_digests.json"
    digests.write_text("{}")
    monkeypatch.setattr(crds, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(crds, "JSON_DIGESTS", digests)
    documents = crd_documents(tree("v0.3.0"))
    assert not (tmp_path / "cache").exists()
    crds.record(tree("v0.3.0"))
    assert crd_documents(tree("v0.3.0")) == documents
    assert len(list((tmp_path / "cache" / "crds").iterdir())) == 1


def test_a_directive_that_would_change_the_crds_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "ray-operator/config/crd"
    folder.mkdir(parents=True)
    (folder / "kustomization.yaml").write_text("resources: []\npatches: []\n")
    with pytest.raises(StackError, match=r"patches would change the CRDs"):
        crd_documents(tmp_path)


def test_a_tree_without_crds_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "ray-operator/config/crd"
    folder.mkdir(parents=True)
    (folder / "kustomization.yaml").write_text("resources: []\n")
    with pytest.raises(StackError, match=r"found nothing"):
        crd_documents(tmp_path)
