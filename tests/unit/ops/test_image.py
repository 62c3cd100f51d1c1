"""`make image`: the program that builds, what is said where there is none, and where its output goes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ops import image

ROOT = Path(__file__).resolve().parents[3]


def program(folder: Path, name: str, script: str) -> None:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def make_image(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": str(folder)}
    command = [sys.executable, "-m", "ops", "image", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_the_first_program_that_works_builds_the_image_of_this_checkout(tmp_path: Path) -> None:
    program(tmp_path, "docker", "echo no daemon >&2; exit 1")
    program(tmp_path, "podman", f'[ "$1" = info ] || echo "$0 $*" | /usr/bin/tee {tmp_path}/called')
    done = make_image(tmp_path, "--name", "registry.example.com/rayjobs:0.1.0")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "registry.example.com/rayjobs:0.1.0\n"
    dockerfile = ROOT / "image" / "Dockerfile"
    expected = f"build --file {dockerfile} --tag registry.example.com/rayjobs:0.1.0 {ROOT}"
    assert (tmp_path / "called").read_text().partition(" ")[2].strip() == expected
    assert "push it: podman push registry.example.com/rayjobs:0.1.0" in done.stderr


def test_without_a_name_the_image_has_the_version_of_rayjobs(tmp_path: Path) -> None:
    program(tmp_path, "docker", "exit 0")
    assert make_image(tmp_path).stdout == f"rayjobs:{image.version()}\n"
    assert image.version()[0].isdigit()


def test_where_nothing_can_build_each_reason_is_named(tmp_path: Path) -> None:
    program(tmp_path, "docker", "echo Cannot connect to the Docker daemon >&2; exit 1")
    done = make_image(tmp_path)
    assert done.returncode == 1
    assert (
        "`docker info` fails: Cannot connect to the Docker daemon; podman is not on PATH; buildah is not" in done.stderr
    )
    assert "Install docker, podman or buildah" in done.stderr


def test_a_build_that_fails_is_an_error_and_names_the_command(tmp_path: Path) -> None:
    program(tmp_path, "buildah", '[ "$1" = info ]')
    done = make_image(tmp_path)
    assert done.returncode == 1
    assert "buildah build --file" in done.stderr
    assert done.stdout == ""
