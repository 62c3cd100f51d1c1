"""The image of the keeper from a checkout: its code as it is now, made anew only when it differs."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import pytest

from single_node import images, keeper
from single_node.cache import cache_root

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A checkout with a little code, and the root of its image in the cache."""
    monkeypatch.setenv("RAY_E2E_CACHE", str(tmp_path / "cache"))
    made = tmp_path / "checkout"
    (made / "jobs/keeper/__pycache__").mkdir(parents=True)
    (made / "image").mkdir()
    for name in ("requirements.lock", "rayjobs"):
        shutil.copy(ROOT / "image" / name, made / "image" / name)
    (made / "jobs/__main__.py").write_text("print('one')\n")
    (made / "jobs/keeper/page.css").write_text("body {}\n")
    (made / "jobs/keeper/__pycache__/old.pyc").touch()
    base = cache_root() / "keeper" / keeper._base_name(made)
    base.parent.mkdir(parents=True)
    root = tmp_path / "root"
    (root / "usr/local/bin").mkdir(parents=True)
    (root / "opt").mkdir()
    with tarfile.open(base, "w") as archive:
        archive.add(root, ".")
    return made


def files_of(archive: Path) -> set[str]:
    with tarfile.open(archive) as content:
        layer = content.extractfile("layer.tar")
        assert layer is not None
        with tarfile.open(fileobj=layer) as files:
            return {member.name for member in files if member.isfile()}


def test_the_image_has_the_code_of_the_checkout_and_its_program(checkout: Path) -> None:
    tag = keeper.build(checkout)
    archive = images.images_dir() / keeper.FILE
    assert files_of(archive) == {
        "./opt/rayjobs/rayjobs/__main__.py",
        "./opt/rayjobs/rayjobs/keeper/page.css",
        "./usr/local/bin/rayjobs",
    }
    with tarfile.open(archive) as content:
        config, manifest = (content.extractfile(name) for name in ("config.json", "manifest.json"))
        assert config is not None
        assert manifest is not None
        assert json.load(manifest)[0]["RepoTags"] == [tag]
        run = json.load(config)["config"]
    assert (run["User"], run["Entrypoint"]) == ("10001:10001", ["rayjobs"])


def test_the_image_is_made_anew_only_for_other_code(checkout: Path) -> None:
    first = keeper.build(checkout)
    archive = images.images_dir() / keeper.FILE
    made = archive.stat().st_mtime_ns
    assert keeper.build(checkout) == first
    assert archive.stat().st_mtime_ns == made
    (checkout / "jobs/__main__.py").write_text("print('two')\n")
    second = keeper.build(checkout)
    assert second != first
    assert keeper._tag_in(archive) == second


def test_other_packages_are_another_root_and_another_image(checkout: Path) -> None:
    tag, base = keeper.image_of(checkout).tag, keeper._base_name(checkout)
    with (checkout / "image/requirements.lock").open("a") as lock:
        lock.write("another==1.0 \\\n    --hash=sha256:0\n")
    assert keeper.image_of(checkout).tag != tag
    assert keeper._base_name(checkout) != base
