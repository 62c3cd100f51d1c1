"""Programs from Go modules, with the real `go` and a module of a few lines. Nothing is fetched: GOPROXY=off."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from collections import namedtuple
from pathlib import Path

import pytest

from single_node import cache
from single_node.errors import NotPossible, SingleNodeError
from single_node.programs import go

SOURCE = b'package main\n\nimport "os"\n\nfunc main() { os.Stdout.WriteString("hello") }\n'
PROXY = {"GOPROXY": "off", "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local"}

needs_go = pytest.mark.skipif(go.go_problem() is not None, reason=str(go.go_problem()))


@pytest.fixture(autouse=True)
def _proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PROXY.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(autouse=True)
def _enough_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(go, "DISK_BYTES", 0)


def build(target: Path, source: bytes = SOURCE) -> Path:
    return go.build_program(target, ".", requires={}, files={"main.go": source}, usually="")


def in_a_process(target: Path, path: str | None = None) -> subprocess.Popen[str]:
    script = f"""
        import pathlib
        from single_node.programs import go
        go._check_disk = lambda *_: None
        go.build_program(pathlib.Path({str(target)!r}), ".", requires={{}}, files={{"main.go": {SOURCE!r}}}, usually="")
    """
    environment = {**os.environ, "PATH": path or os.environ["PATH"]}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stderr=subprocess.PIPE, text=True, env=environment
    )


def counting_go(folder: Path, before: str = "") -> tuple[str, Path]:
    """A `go` in front of the real one that notes each build; returns the PATH and the notes."""
    folder.mkdir()
    notes, real = folder / "builds", shutil.which("go")
    wrapper = folder / "go"
    wrapper.write_text(
        f'#!/bin/sh\nif [ "$1" = build ]; then echo build >> {notes}; {before or ":"}; fi\nexec {real} "$@"\n'
    )
    wrapper.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}", notes


@needs_go
def test_a_program_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = build(tmp_path / "hello")
    assert subprocess.run([target], capture_output=True, check=True).stdout == b"hello"
    before = target.stat()
    monkeypatch.setenv("PATH", "")  # the second call needs no Go
    assert build(target, source=b"no Go at all") == target
    assert target.stat() == before
    assert not list(tmp_path.glob("*.partial"))


@needs_go
def test_two_processes_at_once_build_once(tmp_path: Path) -> None:
    path, notes = counting_go(tmp_path / "bin", before="sleep 0.5")
    processes = [in_a_process(tmp_path / "hello", path) for _ in range(2)]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    assert notes.read_text().split() == ["build"]
    assert any("waiting for another process" in error for error in errors)


@needs_go
def test_a_build_that_was_killed_leaves_no_program_and_the_next_call_builds_it(tmp_path: Path) -> None:
    path, notes = counting_go(tmp_path / "bin", before="sleep 1")
    target = tmp_path / "hello"
    process = in_a_process(target, path)
    while not notes.exists():
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not target.exists()
    # The compiler of the killed process still runs; it is waited for, so no second one writes beside it.
    assert subprocess.run(["flock", "-n", tmp_path / ".hello.lock", "true"], check=False).returncode == 1
    build(target)
    assert subprocess.run([target], capture_output=True, check=True).stdout == b"hello"
    assert not target.with_suffix(".partial").exists()


@needs_go
def test_a_go_mod_that_a_kill_left_half_written_is_written_anew(tmp_path: Path) -> None:
    work = tmp_path / "build" / "hello"
    work.mkdir(parents=True)
    (work / "go.mod").write_text("mod")
    (tmp_path / "hello.partial").write_text("half a program")
    build(tmp_path / "hello")
    assert not (tmp_path / "hello.partial").exists()


@needs_go
def test_code_that_does_not_compile_leaves_no_program(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SingleNodeError, match=r"`go build` failed in .*hello \(exit code 1\)"):
        build(tmp_path / "hello", source=b"package main\nfunc main() { undefined() }\n")
    assert "undefined: undefined" in capfd.readouterr().err  # Go's own message
    assert not (tmp_path / "hello").exists()
    assert build(tmp_path / "hello").exists()


@needs_go
def test_a_module_that_the_proxy_refuses_is_named_with_its_reason(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SingleNodeError, match="GOPROXY") as error:
        go.module_folder("example.com/absent", "v1.0.0", tmp_path)
    assert "module lookup disabled by GOPROXY=off" in str(error.value)
    with pytest.raises(SingleNodeError, match="GOPROXY"):
        go.build_program(
            tmp_path / "absent", "example.com/absent", requires={"example.com/absent": "v1.0.0"}, usually=""
        )
    assert "module lookup disabled by GOPROXY=off" in capfd.readouterr().err
    assert not (tmp_path / "absent").exists()


Usage = namedtuple("Usage", "total used free")


def test_a_full_disk_is_said_before_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(go, "go_problem", lambda oldest: None)
    monkeypatch.setattr(go, "DISK_BYTES", 6 * 1024**3)
    monkeypatch.setattr(go.shutil, "disk_usage", lambda path: Usage(10 * 1024**3, 9 * 1024**3, 1024**3))
    with pytest.raises(NotPossible, match=r"1\.0 GB free, and a build needs 6 GB.*RAY_E2E_CACHE"):
        build(tmp_path / "hello")
    assert not (tmp_path / "build").exists()


def test_a_disk_that_fills_during_the_build_is_the_reason_in_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(arguments: list[str], work: Path) -> str:
        (tmp_path / "hello.partial").write_text("half a program")
        raise SingleNodeError("`go build` failed")

    monkeypatch.setattr(go, "go_problem", lambda oldest: None)
    monkeypatch.setattr(go, "go", fails)
    with pytest.raises(SingleNodeError, match="`go build` failed"):
        build(tmp_path / "hello")
    monkeypatch.setattr(go.shutil, "disk_usage", lambda path: Usage(1024**3, 1024**3, 0))
    with pytest.raises(NotPossible, match=r"0\.0 GB free"):
        build(tmp_path / "hello")
    assert not (tmp_path / "hello.partial").exists()


@pytest.mark.parametrize(
    ("version", "toolchain", "problem"),
    [
        ("go1.26.6", "local", None),
        ("go1.27rc1", "local", None),
        ("go1.26.5", "auto", None),  # fetches a newer one by itself
        ("go1.21.0", "go1.22.0+path", None),
        ("go1.20.3", "", "Go is 1.20.3, and 1.26.6 or newer is needed"),
        ("nonsense", "", "`go env GOVERSION` answers 'nonsense'"),
        (
            "go1.24.9",
            "local",
            "Go is 1.24.9, and 1.26.6 or newer is needed; GOTOOLCHAIN=local keeps it from fetching one "
            "(export GOTOOLCHAIN=auto)",
        ),
    ],
)
def test_an_old_go_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, toolchain: str, problem: str | None
) -> None:
    fake = tmp_path / "go"
    fake.write_text(f"#!/bin/sh\necho {version}\necho {toolchain}\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert go.go_problem("1.26.6") == problem


def test_a_program_whose_modules_ask_for_a_newer_go_is_refused_before_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "go"
    fake.write_text("#!/bin/sh\necho go1.24.9\necho local\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(
        NotPossible, match=r"pulumi is built from Go modules, and Go is 1\.24\.9, and 1\.26\.6 or newer"
    ):
        go.build_program(tmp_path / "pulumi", ".", requires={}, usually="", oldest_go="1.26.6")
    assert not (tmp_path / "build").exists()


@needs_go
def test_the_go_mod_of_a_build_asks_for_the_go_of_its_modules(tmp_path: Path) -> None:
    # `go build` takes a newer Go for the go.mod of the build, not for one of the modules that it requires.
    go.build_program(
        tmp_path / "hello", ".", requires={}, files={"main.go": SOURCE}, usually="", oldest_go=go.FETCHES_NEWER_GO
    )
    assert f"\ngo {go.FETCHES_NEWER_GO}\n" in (tmp_path / "build/hello/go.mod").read_text()


def test_without_go_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotPossible, match="hello is built from Go modules, and the command `go` is missing"):
        build(tmp_path / "hello")
    with pytest.raises(NotPossible, match=r"example\.com/absent is fetched with Go, and the command `go` is missing"):
        go.module_folder("example.com/absent", "v1.0.0", tmp_path / "work")
    assert not (tmp_path / "build").exists()
    assert not (tmp_path / "work").exists()


def test_the_lock_of_a_build_is_released_after_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotPossible):
        build(tmp_path / "hello")
    taken = threading.Event()

    def take() -> None:
        with cache.locked(tmp_path / ".hello.lock"):
            taken.set()

    threading.Thread(target=take, daemon=True).start()
    assert taken.wait(10)
