"""What a machine lacks for the single node is said in one line, before anything is begun."""

from __future__ import annotations

import io
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import pytest

from single_node import cluster, requirements
from single_node.errors import NotPossible


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def lacking(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """A machine without runc and iptables that has apt-get; returns the commands that were run."""
    run: list[list[str]] = []

    def record(command: list[str], **_options: Any) -> subprocess.CompletedProcess[str]:
        run.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(requirements, "missing_packages", lambda: ["runc", "iptables"])
    monkeypatch.setattr(subprocess, "run", record)
    program = tmp_path / "apt-get"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    return run


def test_without_a_terminal_missing_packages_are_installed(
    lacking: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    requirements.install_packages()
    assert [command[:2] for command in lacking] == [["apt-get", "update"], ["apt-get", "install"]]
    assert {"runc", "iptables"} <= set(lacking[1])


@pytest.mark.parametrize(("answer", "installed"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_at_a_terminal_they_are_installed_after_a_yes_and_else_named_in_one_command(
    answer: str, installed: bool, lacking: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    if installed:
        requirements.install_packages()
        assert len(lacking) == 2
        return
    with pytest.raises(NotPossible, match=r"apt-get update && apt-get install .* runc iptables$"):
        requirements.install_packages()
    assert lacking == []


def test_without_apt_get_the_packages_are_named(lacking: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(NotPossible, match="runc iptables"):
        requirements.install_packages()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda patch: patch.setattr(platform, "system", lambda: "Darwin"), "it needs Linux, and this is Darwin"),
        (lambda patch: patch.setattr(os, "geteuid", lambda: 1000), "it needs root"),
        (
            lambda patch: patch.setattr(requirements, "_memory", lambda: 1 << 30),
            "3 GiB of memory, and this machine has",
        ),
    ],
    ids=["another system", "not root", "little memory"],
)
def test_a_machine_that_cannot_is_told_before_anything_is_built(
    change: Any, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    change(monkeypatch)
    with pytest.raises(NotPossible, match="cannot run here") as refused:
        cluster.up(tmp_path)
    assert words in str(refused.value)
    assert list(tmp_path.iterdir()) == []
