"""The CRDs in KubeRay's files."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.errors import StackError
from components.kuberay import overlay
from components.kuberay.crds import crd_documents
from components.settings import parse
from tests.support.trees import VERSIONS, tree
from tests.unit.components.kustomize import kustomize


@pytest.mark.parametrize("version", VERSIONS)
def test_the_crds_are_read_as_kustomize_renders_them(version: str, tmp_path: Path) -> None:
    settings = parse({"kuberay": {"version": version}, "clusters": []}).kuberay
    crds, _ = overlay.write(settings, tree(version), "test", root=tmp_path)
    by_name = {document["metadata"]["name"]: document for document in crd_documents(tree(version))}
    assert {document["metadata"]["name"]: document for document in kustomize(tmp_path / crds)} == by_name
    assert "rayclusters.ray.io" in by_name


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
