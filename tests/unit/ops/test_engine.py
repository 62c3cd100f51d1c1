"""Where Pulumi's engine is, and what the CLI says when it fails."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from ops import engine
from ops.errors import EngineFailed, EngineMissing


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Nothing on PATH; returns the folder that PATH names."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    return programs


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_the_engine_that_is_missing_is_named(
    bare_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "OWN_INSTALLATION", tmp_path / "none")
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RAY_E2E_CACHE", str(tmp_path / "cache"))
    with pytest.raises(EngineMissing, match="Pulumi CLI is not on PATH"):
        engine.find_engine()
    program(bare_machine, "pulumi", "exit 0")
    with pytest.raises(EngineMissing, match="pulumi-language-python is neither on PATH"):
        engine.find_engine()
    program(bare_machine, "pulumi-language-python", "exit 0")
    with pytest.raises(EngineMissing, match="pulumi-resource-kubernetes is neither on PATH"):
        engine.find_engine()
    (tmp_path / "home" / "plugins" / "resource-kubernetes-v4.32.0").mkdir(parents=True)
    with pytest.raises(EngineMissing, match="pulumi-resource-pulumi-python is neither on PATH"):
        engine.find_engine()
    program(bare_machine, "pulumi-resource-pulumi-python", "exit 0")
    assert engine.find_engine() == bare_machine / "pulumi"


def test_the_projects_own_installation_is_found_too(
    bare_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    (own / "bin").mkdir(parents=True)
    for name in ("pulumi", *engine.PLUGINS):
        program(own / "bin", name, "exit 0")
    monkeypatch.setattr(engine, "OWN_INSTALLATION", own)
    assert engine.find_engine() == own / "bin" / "pulumi"


def test_what_the_engine_said_is_in_the_error(bare_machine: Path) -> None:
    program(bare_machine, "pulumi", "echo 'error: no stack named x' >&2; exit 255")
    with pytest.raises(EngineFailed, match="ended with 255: error: no stack named x"):
        engine.stack_outputs("x")
