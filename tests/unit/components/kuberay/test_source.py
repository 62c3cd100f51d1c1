"""KubeRay's manifests on disk."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from components.errors import StackError
from components.kuberay import source
from tests.support.trees import VERSIONS, tree


@pytest.mark.parametrize("version", VERSIONS)
def test_the_recorded_digest_is_that_of_the_versions_tree(version: str) -> None:
    assert source.digest(tree(version), version) == source.recorded()[version]


def test_a_local_tree_is_used_in_place() -> None:
    assert source.resolve("v1.7.0", str(tree("v1.7.0"))) == tree("v1.7.0").resolve()


def test_a_changed_manifest_stops_with_both_digests(tmp_path: Path) -> None:
    copy = tmp_path / "tree"
    shutil.copytree(tree("v1.7.0"), copy)
    (copy / source.RBAC_FOLDER / "role.yaml").open("a").write("# changed\n")
    with pytest.raises(StackError) as caught:
        source.resolve("v1.7.0", str(copy))
    assert source.recorded()["v1.7.0"] in str(caught.value)
    assert source.digest(copy, "v1.7.0") in str(caught.value)


def test_a_file_that_is_no_manifest_changes_no_digest(tmp_path: Path) -> None:
    copy = tmp_path / "tree"
    shutil.copytree(tree("v1.7.0"), copy)
    (copy / source.RBAC_FOLDER / "README.md").write_text("hello")
    assert source.digest(copy, "v1.7.0") == source.recorded()["v1.7.0"]


def test_a_missing_source_directory_is_named() -> None:
    with pytest.raises(StackError, match=r'kuberay.source: "nowhere": no such directory'):
        source.resolve("v1.7.0", "nowhere")


def test_a_directory_without_manifests_is_no_source(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"no manifests in ray-operator/config/crd"):
        source.resolve("v1.7.0", str(tmp_path))


def test_a_version_without_a_digest_names_the_command_that_records_one() -> None:
    with pytest.raises(StackError, match=r"python -m ops manifests record v9\.9\.9"):
        source.resolve("v9.9.9")


@pytest.fixture
def upstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository on this machine in the place of the upstream one, with a tag v1.7.0; an empty cache."""
    repository = tmp_path / "upstream"
    shutil.copytree(tree("v1.7.0"), repository)
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", "-C", str(repository)]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"], ["tag", "v1.7.0"]):
        subprocess.run([*git, *command], check=True, capture_output=True)
    monkeypatch.setattr(source, "REPOSITORY", repository.as_uri())
    monkeypatch.setattr(source, "CACHE", tmp_path / "cache")
    return repository


def test_the_upstream_tag_is_fetched_once_and_then_needs_no_network(
    upstream: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = source.resolve("v1.7.0")
    monkeypatch.setattr(source, "REPOSITORY", "file:///gone")
    assert source.resolve("v1.7.0") == fetched
    assert [entry.name for entry in fetched.parent.iterdir()] == ["v1.7.0"]


def test_a_version_that_was_never_published_is_named(upstream: Path) -> None:
    with pytest.raises(StackError, match=r"v1\.99\.0: never published"):
        source.record("v1.99.0")


def test_without_a_network_the_local_source_is_offered(upstream: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "REPOSITORY", "https://127.0.0.1:1/kuberay")
    monkeypatch.setenv("GOPROXY", "off")
    with pytest.raises(StackError, match=r"(?s)could not be fetched.*Go module:.*kuberay\.source"):
        source.resolve("v1.7.0")


def test_recording_a_version_adds_its_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = tmp_path / "digests.json"
    digests.write_text("{}")
    monkeypatch.setattr(source, "DIGESTS", digests)
    assert source.record("v1.7.0", tree("v1.7.0")) == source.recorded()["v1.7.0"]
