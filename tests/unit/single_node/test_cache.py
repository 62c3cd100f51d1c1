"""The cache: where it is, what names a part, locks, and files that survive a kill."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from single_node import cache
from single_node.programs import engine, kubernetes


def test_the_cache_is_the_named_folder_or_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_E2E_CACHE", str(tmp_path / "own"))
    assert cache.cache_root() == tmp_path / "own"
    monkeypatch.delenv("RAY_E2E_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.cache_root() == tmp_path / "ray-on-kubernetes"


def test_the_engine_has_another_folder_for_another_version_or_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    folders = {engine.engine_dir()}
    for name, value in (
        ("PULUMI_VERSION", "v9.9.9"),
        ("PROVIDER_MODULE_VERSION", "v9.9.9"),
        ("PROVIDER_SOURCE", "package main"),
        ("LAUNCHER", "#!/bin/sh"),
    ):
        monkeypatch.setattr(engine, name, value)
        folders.add(engine.engine_dir())
    assert len(folders) == 5
    assert not engine.is_built()


def test_a_recipe_is_not_another_one_with_the_same_letters() -> None:
    assert cache.recipe_digest("ab", "c") != cache.recipe_digest("a", "bc")
    assert cache.recipe_digest("ab", "c") == cache.recipe_digest("ab", "c")


def test_kubernetes_programs_of_earlier_checkouts_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_E2E_CACHE", str(tmp_path))
    folder = tmp_path / "native" / f"v{kubernetes.KUBERNETES_VERSION}" / "bin"
    folder.mkdir(parents=True)
    for name in (*kubernetes.KUBERNETES_PROGRAMS, "coredns", "pause"):
        (folder / name).touch()
    monkeypatch.setenv("PATH", "")  # nothing can be built
    assert kubernetes.missing_programs() == []
    assert kubernetes.build() == folder


def test_a_second_process_waits_for_the_lock_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock, ready, release, order = tmp_path / "lock", threading.Event(), threading.Event(), []

    def first() -> None:
        with cache.locked(lock):
            ready.set()
            release.wait(10)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    ready.wait(10)
    threading.Timer(0.1, release.set).start()
    with cache.locked(lock):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]
    assert f"waiting for another process that holds {lock}" in capsys.readouterr().err


def test_a_program_that_outlives_its_caller_holds_the_lock(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    script = f"""
import os, pathlib, signal, subprocess
from single_node import cache
with cache.locked(pathlib.Path({str(lock)!r})):
    subprocess.Popen(["sleep", "1"], pass_fds=cache.held_locks(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", script], check=False)
    assert subprocess.run(["flock", "--nonblock", str(lock), "true"], check=False).returncode == 1
    with cache.locked(lock):
        assert cache.held_locks()
    assert cache.held_locks() == ()


def test_a_write_never_changes_the_old_file_in_place(tmp_path: Path) -> None:
    file = tmp_path / "record"
    cache.write_atomically(file, "old")
    with file.open() as reader:
        cache.write_atomically(file, "new")
        assert reader.read() == "old"
    assert file.read_text() == "new"


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "record"
    cache.write_atomically(file, "old")

    def full(self: Path, text: str) -> int:
        self.touch()
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="No space left"):
            cache.write_atomically(file, "new")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]
