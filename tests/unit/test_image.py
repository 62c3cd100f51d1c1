"""image/: the keeper's image is made of pinned parts, runs as nobody in particular, and has `rayjobs` in it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from components.manifests.keeper import USER
from single_node import keeper

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "image" / "Dockerfile").read_text()
LOCK = (ROOT / "image" / "requirements.lock").read_text()
PINNED = re.compile(r"^([a-z0-9._-]+)==(\S+) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.M)


def pinned(lock: str) -> dict[str, str]:
    return {name: version for name, version, _ in PINNED.findall(lock)}


def test_the_base_is_pinned_by_digest() -> None:
    assert re.findall(r"(?m)^FROM (.+)$", DOCKERFILE) == re.findall(
        r"(?m)^FROM (docker\.io/library/python:3\.11-slim-bookworm@sha256:[0-9a-f]{64})$", DOCKERFILE
    )


def test_every_package_is_checked_against_a_hash_and_has_the_version_of_the_project() -> None:
    assert "pip install --no-cache-dir --no-deps --require-hashes -r /tmp/requirements.lock" in DOCKERFILE
    found, project = pinned(LOCK), pinned((ROOT / "requirements.lock").read_text())
    assert len(found) == len(re.findall(r"^\S+==", LOCK, re.M)) > 20
    assert "://" not in LOCK
    assert {name: version for name, version in found.items() if project.get(name) != version} == {}


def test_what_rayjobs_needs_for_a_keeper_is_in_the_lock_and_nothing_of_the_stack() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    lists = [re.search(rf"(?ms)^{name} = \[(.*?)^\]", text) for name in ("dependencies", "keeper")]
    wanted = [Requirement(line) for found in lists if found for line in re.findall(r'(?m)^    "(.+?)"', found[1])]
    assert len(wanted) > 8
    locked = pinned(LOCK)
    for requirement in wanted:
        assert requirement.specifier.contains(locked[str(canonicalize_name(requirement.name))]), requirement
    assert not {"pulumi", "ray", "pydantic", "pytest"} & set(locked)


def test_the_image_runs_as_the_user_of_the_pod_in_both_ways_to_make_it() -> None:
    assert re.findall(r"(?m)^USER (.+)$", DOCKERFILE) == [f"{USER}:{USER}"] == [keeper.USER]
    assert 'ENTRYPOINT ["rayjobs"]' in DOCKERFILE


def test_only_the_code_and_the_recipe_reach_the_builder() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["*", "!image", "!jobs", "**/__pycache__"]
    copied = re.findall(r"(?m)^COPY (\S+) ", DOCKERFILE)
    assert copied == ["image/requirements.lock", "jobs", "image/rayjobs"]


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """The environment of the image: the code as `rayjobs` beside the packages."""
    (tmp_path / "rayjobs").symlink_to(ROOT / "jobs")
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": path}


def test_the_program_of_the_image_is_rayjobs(installed: dict[str, str], tmp_path: Path) -> None:
    program = ROOT / "image" / "rayjobs"
    assert os.access(program, os.X_OK)
    command = [sys.executable, str(program), "--help"]
    done = subprocess.run(command, env=installed, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "rayjobs submit" in done.stdout
