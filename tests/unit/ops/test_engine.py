"""Where Pulumi's engine is, and what the CLI says when it fails."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from ops import engine
from ops.errors import EngineFailed, EngineMissing
from single_node.programs import engine as module_engine


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


def test_the_engine_from_go_modules_comes_last_and_its_processes_find_its_plugins_and_this_python(
    bare_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "OWN_INSTALLATION", tmp_path / "none")
    monkeypatch.setenv("RAY_E2E_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "home"))
    built = module_engine.engine_dir()
    built.mkdir(parents=True)
    program(built, "pulumi", 'echo "{\\"PATH\\": \\"$PATH\\", \\"python\\": \\"$RAY_PULUMI_PYTHON\\"}"')
    with pytest.raises(EngineMissing):  # half of it is built
        engine.find_cli()
    for name in engine.PLUGINS:
        program(built, name, "exit 0")
    assert engine.find_engine() == built / "pulumi"
    seen = engine.stack_outputs("x")
    assert seen == {"PATH": f"{bare_machine}:{built}", "python": sys.executable}
    program(bare_machine, "pulumi", "exit 0")
    assert engine.find_engine() == bare_machine / "pulumi"


def test_the_provider_among_the_plugins_is_known_by_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "OWN_INSTALLATION", tmp_path / "none")
    monkeypatch.setenv("RAY_E2E_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "home"))
    assert engine.provider_version() == "unknown"
    for version in ("4.9.1", "4.32.0"):
        (tmp_path / "home" / "plugins" / f"resource-kubernetes-v{version}").mkdir(parents=True)
        (tmp_path / "home" / "plugins" / f"resource-kubernetes-v{version}.lock").touch()
    assert engine.provider_version() == "4.32.0"


def test_what_the_engine_said_is_in_the_error(bare_machine: Path) -> None:
    program(bare_machine, "pulumi", "echo 'error: no stack named x' >&2; exit 255")
    with pytest.raises(EngineFailed, match="ended with 255: error: no stack named x"):
        engine.stack_outputs("x")
