"""The commit of a directory."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from jobs.ledger import git


def run_git(directory: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-c", "user.name=n", "-c", "user.email=e@e", "-c", "protocol.file.allow=always", *arguments],
        cwd=directory,
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def repository(directory: Path) -> Path:
    """A repository with one committed file, whose state in the index is not current: git has to read the file."""
    directory.mkdir()
    run_git(directory, "init")
    (directory / "file").write_text("1")
    run_git(directory, "add", "file")
    run_git(directory, "commit", "-m", "x")
    os.utime(directory / "file", (1, 1))
    return directory


def program(directory: Path) -> tuple[Path, Path]:
    """A program, and the file that it writes when it runs."""
    ran = directory / "ran"
    path = directory / "program"
    path.write_text(f"#!/bin/sh\ntouch {ran}\ncat\n")
    path.chmod(0o755)
    return path, ran


@pytest.mark.parametrize("setting", ["core.fsmonitor", "filter.x.clean", "filter.x.process", "filter.a=b.clean"])
def test_a_repository_runs_no_program(tmp_path: Path, setting: str) -> None:
    path, ran = program(tmp_path)
    directory = repository(tmp_path / "repository")
    name = setting.split(".")[1] if setting.startswith("filter") else "none"
    (directory / ".git" / "info" / "attributes").write_text(f"* filter={name}\n")
    run_git(directory, "config", setting, str(path))
    run_git(directory, "config", f"filter.{name}.required", "true")
    commit = git.commit_of(directory)
    assert not ran.exists()
    assert commit is not None or "=" in name
    assert commit is None or not commit.dirty
    # The same repository makes plain git run the program.
    subprocess.run(["git", "status"], cwd=directory, capture_output=True, check=False, timeout=10)
    assert ran.exists()


def test_a_submodule_runs_no_program(tmp_path: Path) -> None:
    path, ran = program(tmp_path)
    inner, outer = repository(tmp_path / "inner"), repository(tmp_path / "outer")
    run_git(outer, "submodule", "add", str(inner), "sub")
    run_git(outer, "commit", "-m", "sub")
    for setting in ("core.fsmonitor", "filter.x.clean"):
        run_git(outer / "sub", "config", setting, str(path))
    (outer / ".git" / "modules" / "sub" / "info" / "attributes").write_text("* filter=x\n")
    os.utime(outer / "sub" / "file", (1, 1))
    assert git.commit_of(outer) is not None
    assert not ran.exists()


def test_missing_objects_are_not_fetched(tmp_path: Path) -> None:
    path, ran = program(tmp_path)
    directory = repository(tmp_path / "repository")
    for setting, value in (
        ("extensions.partialClone", "origin"),
        ("remote.origin.promisor", "true"),
        ("remote.origin.url", str(tmp_path / "elsewhere")),
        ("remote.origin.uploadpack", str(path)),
    ):
        run_git(directory, "config", setting, value)
    tree = run_git(directory, "rev-parse", "HEAD^{tree}").strip()
    (directory / ".git" / "objects" / tree[:2] / tree[2:]).unlink()
    git.commit_of(directory)
    assert not ran.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_repository_of_another_user_is_left_alone_unless_git_trusts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    directory = repository(tmp_path / "repository")
    assert git.commit_of(directory) is not None
    for place in (directory, *directory.rglob("*")):
        os.chown(place, 65534, 65534)
    assert git.commit_of(directory) is None
    run_git(tmp_path, "config", "--global", "safe.directory", str(directory))
    assert git.commit_of(directory) is not None


def test_the_commit_and_whether_it_is_dirty_are_found(tmp_path: Path) -> None:
    assert git.commit_of(tmp_path) is None
    run_git(tmp_path, "init")
    assert git.commit_of(tmp_path) is None
    (tmp_path / "a").write_text("1")
    run_git(tmp_path, "add", "a")
    run_git(tmp_path, "commit", "-m", "x")
    clean = git.commit_of(tmp_path)
    assert clean is not None
    assert (len(clean.sha), clean.dirty) == (40, False)
    (tmp_path / "new").write_text("2")
    assert git.commit_of(tmp_path) == git.Commit(clean.sha, True)
