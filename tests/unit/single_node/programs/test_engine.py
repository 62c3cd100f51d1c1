"""The engine's folder: programs that run with the caller's Python, and that `ops` finds after all others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ops import engine as ops_engine
from single_node.programs import engine


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The engine's folder, in a cache whose path has a space; two programs stand for those that Go builds."""
    monkeypatch.setenv("RAY_E2E_CACHE", str(tmp_path / "the cache"))
    monkeypatch.delenv("RAY_PULUMI_PYTHON", raising=False)
    for program in (engine._cli(), engine._provider()):
        program.parent.mkdir(parents=True)
        script(program, f"echo {program.name} in $PATH")
    return engine.build()


def script(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


def run(program: Path, cwd: Path, **environment: str) -> str:
    environment = {"PATH": f"{cwd / 'bin'}:/usr/bin:/bin", **environment}
    return subprocess.run(
        [program], cwd=cwd, env=environment, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_the_folder_has_all_programs_and_nothing_unfinished(folder: Path) -> None:
    assert engine.is_built()
    assert {file.name for file in folder.iterdir()} == {*engine.PROGRAMS, "language_host.py", ".lock"}
    assert engine.build() == folder


@pytest.mark.parametrize("name", engine.PROGRAMS)
def test_a_folder_that_lacks_a_program_is_not_built_and_is_completed(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert not engine.is_built()
    engine.build()
    assert engine.is_built()


def test_a_folder_whose_program_was_deleted_from_the_cache_is_not_built(folder: Path) -> None:
    assert folder.is_dir()
    engine._provider().unlink()
    assert not engine.is_built()


@pytest.mark.parametrize(
    ("name", "first"),
    [("pulumi-language-python", "-u {}/language_host.py"), ("pulumi-resource-pulumi-python", "-u -m")],
)
def test_the_programs_in_python_run_with_the_callers_python(
    folder: Path, tmp_path: Path, name: str, first: str
) -> None:
    """RAY_PULUMI_PYTHON, which ops sets; else the project's virtual environment; else the python3 on PATH."""
    project = tmp_path / "project"
    for place in ("bin", ".venv/bin", "named"):
        (project / place).mkdir(parents=True)
    script(project / "bin" / "python3", 'echo "PATH: $*"')
    assert run(folder / name, project).startswith(f"PATH: {first.format(folder)}")
    script(project / ".venv" / "bin" / "python", 'echo "venv: $*"')
    assert run(folder / name, project).startswith(f"venv: {first.format(folder)}")
    script(project / "named" / "python", 'echo "named: $*"')
    shown = run(folder / name, project, RAY_PULUMI_PYTHON=str(project / "named" / "python"))
    assert shown.startswith(f"named: {first.format(folder)}")


def test_a_built_engine_is_found_after_all_others_and_by_its_own_plugins(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ops_engine, "OWN_INSTALLATION", tmp_path / "none")
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert ops_engine.find_engine() == folder / "pulumi"
    assert ops_engine.version().endswith(f":{folder}")  # its processes find the plugins there
    (tmp_path / "bin").mkdir()
    script(tmp_path / "bin" / "pulumi", "echo another")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    assert ops_engine.find_cli() == tmp_path / "bin" / "pulumi"


def test_the_cli_is_told_which_python_to_use(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops_engine, "OWN_INSTALLATION", tmp_path / "none")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    script(engine._cli(), "echo $RAY_PULUMI_PYTHON")
    assert folder.is_dir()
    assert ops_engine.version() == sys.executable
