"""The index of file hashes: an unchanged file is not read again, a changed one always."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from jobs.upload import index as file_index
from jobs.upload.plan import plan as make_plan
from tests.support.directories import write


@pytest.fixture
def quick_to_settle(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file counts as settled after 0.1 seconds instead of two."""
    monkeypatch.setattr(file_index, "SETTLED_NS", 100_000_000)


@pytest.mark.usefixtures("quick_to_settle")
def test_an_unchanged_directory_is_not_read_again(source: Path, index: Path) -> None:
    write(source / "a.py")
    write(source / "b.py")
    time.sleep(0.2)
    assert make_plan(source, index_path=index).files_read == 2
    assert make_plan(source, index_path=index).files_read == 0
    assert make_plan(source, index_path=index, use_cache=False).files_read == 2


@pytest.mark.usefixtures("quick_to_settle")
def test_an_edit_with_the_same_size_and_the_mtime_put_back_is_seen(source: Path, index: Path) -> None:
    path = write(source / "a.py", "lr = 1")
    time.sleep(0.2)
    before = make_plan(source, index_path=index)
    stamp = path.stat()
    with path.open("r+b") as file:
        file.write(b"lr = 2")
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert path.stat().st_mtime_ns == stamp.st_mtime_ns
    after = make_plan(source, index_path=index)
    assert after.uri != before.uri
    assert after.uri == make_plan(source, use_cache=False, index_path=index).uri


def test_a_file_younger_than_two_seconds_is_read_every_time(source: Path, index: Path) -> None:
    write(source / "a.py")
    assert [make_plan(source, index_path=index).files_read for _ in range(2)] == [1, 1]


@pytest.mark.parametrize("content", [b"this is no database", b"SQLite format 3\x00" + b"\xff" * 200, b""])
def test_a_broken_index_costs_only_the_reading(content: bytes, source: Path, index: Path) -> None:
    write(source / "a.py")
    write(index, content)
    assert make_plan(source, index_path=index).files_read == 1


def test_an_index_that_cannot_be_written_costs_only_the_reading(source: Path, tmp_path: Path) -> None:
    write(source / "a.py")
    in_the_way = write(tmp_path / "file")
    assert make_plan(source, index_path=in_the_way / "index.sqlite").files_read == 1
