"""Packing: the same plan gives the same bytes, a changed file is refused, and so is too much."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import pytest

from jobs.errors import LocalFault, PackageTooLarge, SourceChanged
from jobs.upload.pack import pack, packed
from jobs.upload.plan import plan as make_plan
from tests.support.directories import packed_members, write


def test_the_same_plan_packs_to_the_same_bytes(source: Path, index: Path) -> None:
    write(source / "run.sh", "echo").chmod(0o755)
    write(source / "b.py")
    (source / "empty").mkdir()
    plans = [make_plan(source, index_path=index)]
    os.utime(source / "b.py", (1, 1))
    plans.append(make_plan(source, index_path=index))
    outs = [io.BytesIO(), io.BytesIO()]
    for plan, out in zip(plans, outs, strict=True):
        pack(plan, out)
    assert outs[0].getvalue() == outs[1].getvalue()
    with zipfile.ZipFile(outs[0]) as archive:
        modes = {info.filename: info.external_attr >> 16 & 0o777 for info in archive.infolist()}
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert modes == {"empty/": 0o755, "run.sh": 0o755, "b.py": 0o644}


def test_an_empty_directory_is_a_package_of_no_files(source: Path, index: Path) -> None:
    plan = make_plan(source, index_path=index)
    assert plan.files == ()
    assert packed_members(plan) == {}


@pytest.mark.parametrize("change", ["edited", "edited and grown", "shrunk", "vanished", "replaced by a pipe"])
def test_a_file_that_changes_between_plan_and_pack_is_never_sent_under_the_old_name(
    change: str, source: Path, index: Path
) -> None:
    path = write(source / "train.py", "lr = 1")
    plan = make_plan(source, index_path=index)
    if change in ("vanished", "replaced by a pipe"):
        path.unlink()
    else:
        write(path, {"edited": "lr = 2", "edited and grown": "lr = 20", "shrunk": "lr"}[change])
    if change == "replaced by a pipe":
        os.mkfifo(path)
    with pytest.raises(SourceChanged, match=r"train\.py") as error, packed(plan):
        pass
    assert error.value.vanished is (change == "vanished")


def test_a_log_that_grows_after_the_plan_is_packed_as_far_as_it_was_planned(source: Path, index: Path) -> None:
    """As with `| tee run.log` in the working_dir: the other program writes what this command prints."""
    path = write(source / "run.log", "first\n")
    plan = make_plan(source, index_path=index)
    with path.open("a") as log:
        log.write("second\n")
    assert packed_members(plan) == {"run.log": b"first\n"}


def test_over_the_servers_limit_the_largest_files_are_named(source: Path, index: Path) -> None:
    write(source / "weights.bin", os.urandom(400_000))
    write(source / "small.py")
    plan = make_plan(source, index_path=index)
    named = r"(?s)weights\.bin \(0\.4 MiB\).*\.rayignore"
    with pytest.raises(PackageTooLarge, match=named), packed(plan, limit=300_000):
        pass
    with packed(plan, limit=500_000) as (body, size):
        assert body.tell() == 0
        assert 400_000 < size == len(body.read())


def test_what_compresses_below_the_limit_is_taken(source: Path, index: Path) -> None:
    write(source / "log.txt", b"the same line\n" * 100_000)
    with packed(make_plan(source, index_path=index), limit=100_000) as (_, size):
        assert size < 100_000


def test_a_full_temporary_directory_is_said_with_its_name(
    source: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(source / "a.bin", os.urandom(100_000))
    plan = make_plan(source, index_path=index)
    monkeypatch.setattr("tempfile.TemporaryFile", lambda: open("/dev/full", "r+b"))  # noqa: SIM115
    with pytest.raises(LocalFault, match="No space left on device"), packed(plan):
        pass
