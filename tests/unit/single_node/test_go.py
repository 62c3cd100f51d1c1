"""Programs from Go modules: built once, whole or not at all, and an error that says what to do."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from single_node.errors import NotPossible, SingleNodeError
from single_node.programs import engine, go
from single_node.programs.go import build_program
from tests.support.command import ROOT

MAIN = b'package main\n\nimport "fmt"\n\nfunc main() { fmt.Println("hello") }\n'
needs_go = pytest.mark.skipif(shutil.which("go") is None, reason="Go is not installed")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOPROXY", "off")
    monkeypatch.setenv("GOFLAGS", "-mod=mod")


def build(target: Path, source: bytes = MAIN) -> Path:
    return build_program(target, ".", requires={}, usually="", files={"main.go": source})


@needs_go
def test_a_program_is_built_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "bin" / "hello"
    assert subprocess.run([build(target)], capture_output=True, text=True, check=True).stdout == "hello\n"
    assert "building hello" in capsys.readouterr().err
    assert build(target, b"not Go") == target
    assert capsys.readouterr().err == ""


@needs_go
def test_a_build_that_fails_leaves_no_program_and_the_next_one_works(tmp_path: Path) -> None:
    target = tmp_path / "hello"
    with pytest.raises(SingleNodeError, match=r"`go build` failed in .*hello"):
        build(target, b"package main\n\nfunc main() { broken }\n")
    assert not target.exists()
    assert build(target).exists()


@needs_go
def test_a_module_that_the_proxy_refuses_is_an_error_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(SingleNodeError, match=r"(?s)GOPROXY=off.*go env GOPROXY"):
        go.module_folder("example.com/no/such/module", "v1.0.0", tmp_path)


SCRIPT = """
import sys
from pathlib import Path
from single_node.programs.go import build_program
target = Path(sys.argv[1])
build_program(target, ".", requires={}, usually="", files={"main.go": Path(sys.argv[2]).read_bytes()})
"""


def start(target: Path, source: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(target), str(source)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@needs_go
def test_two_processes_that_want_the_same_program_build_it_once(tmp_path: Path) -> None:
    source = tmp_path / "main.go"
    source.write_bytes(MAIN)
    both = [start(tmp_path / "hello", source) for _ in range(2)]
    said = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sorted("building hello" in text for text in said) == [False, True], said


@needs_go
def test_after_a_kill_in_mid_build_the_next_call_builds_it(tmp_path: Path) -> None:
    source = tmp_path / "main.go"
    source.write_bytes(MAIN)
    process = start(tmp_path / "hello", source)
    deadline = time.monotonic() + 60
    while not (tmp_path / "build" / "hello" / "go.mod").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert subprocess.run([build(tmp_path / "hello")], capture_output=True, check=True).stdout == b"hello\n"


def test_without_go_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotPossible, match=r"hello is built from Go modules, and the command `go` is missing \(1\.24"):
        build(tmp_path / "hello")


@pytest.mark.parametrize(("version", "enough"), [("go1.19.8", False), ("go1.21.0", True), ("go1.26.1", True)])
def test_a_go_that_is_too_old_is_named(
    version: str, enough: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "go"
    program.write_text(f"#!/bin/sh\necho {version}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    problem = go.go_problem()
    assert (problem is None) == enough
    assert enough or "1.24 or newer is needed" in str(problem)


@needs_go
def test_a_full_disk_is_said_before_anything_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(go, "DISK_BYTES", 1 << 60)
    with pytest.raises(NotPossible, match=r"GB free, and a build needs .* RAY_E2E_CACHE"):
        build(tmp_path / "hello")


def test_another_version_of_a_part_of_the_engine_is_another_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    before = engine.engine_dir()
    monkeypatch.setattr(engine, "PROVIDER_MODULE_VERSION", "v9")
    assert engine.engine_dir() != before
    assert not engine.is_built()
