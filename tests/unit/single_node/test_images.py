"""Images as archives in the cache: names, once, and nothing half made."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from single_node import images, operator
from single_node.errors import SingleNodeError


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_E2E_CACHE", str(tmp_path))


def test_archives_are_named_by_version() -> None:
    assert [image.file for image in images.IMAGES] == [
        "pause-3.10.tar",
        "coredns-v1.12.4.tar",
        "ray-2.60.0.tar",
        "redis-7.4.6.tar",
    ]
    assert operator.archive("v1.5.0") == "kuberay-operator-v1.5.0.tar"


def test_only_archives_that_are_not_there_are_missing() -> None:
    assert images.missing_images() == [image.file for image in images.IMAGES]
    images.images_dir().mkdir()
    (images.images_dir() / "ray-2.60.0.tar").touch()
    (images.images_dir() / "redis-7.4.6.partial").touch()
    assert images.missing_images() == ["pause-3.10.tar", "coredns-v1.12.4.tar", "redis-7.4.6.tar"]


def test_an_image_is_made_once_with_its_tag() -> None:
    made: list[Path] = []

    def fill(root: Path) -> None:
        made.append(root)
        (root / "program").write_text("x")

    image = images.Image("example/app:v1", "app-v1.tar", fill, {"Entrypoint": ["/program"]})
    archive = images.ensure_image(image)
    assert images.ensure_image(image) == archive
    assert len(made) == 1
    with tarfile.open(archive) as content:
        manifest = content.extractfile("manifest.json")
        assert manifest is not None
        assert json.load(manifest)[0]["RepoTags"] == ["example/app:v1"]
    assert [path.name for path in images.images_dir().iterdir() if not path.name.startswith(".")] == ["app-v1.tar"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SingleNodeError("pip failed")])
def test_an_image_that_fails_leaves_nothing_and_is_made_by_the_next_call(error: Exception) -> None:
    def fails(root: Path) -> None:
        (root / "program").write_text("x")
        root.with_suffix(".layer").write_text("half a layer")
        raise error

    with pytest.raises(SingleNodeError, match=r"No space left on device|pip failed"):
        images.ensure_image(images.Image("example/app:v1", "app-v1.tar", fails))
    assert [path.name for path in images.images_dir().iterdir()] == [".app-v1.tar.lock"]
    assert images.ensure_image(images.Image("example/app:v1", "app-v1.tar", lambda root: None)).exists()


def test_a_root_that_a_kill_left_behind_is_not_packed() -> None:
    left = images.images_dir() / "app-v1.rootfs"
    left.mkdir(parents=True)
    (left / "old").touch()
    archive = images.ensure_image(images.Image("example/app:v1", "app-v1.tar", lambda root: None))
    with tarfile.open(archive) as content:
        layer = content.extractfile("layer.tar")
        assert layer is not None
        with tarfile.open(fileobj=layer) as files:
            assert files.getnames() == ["."]
