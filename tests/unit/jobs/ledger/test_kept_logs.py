"""Kept logs: every byte that a job wrote, in spite of kills, full disks and limits, and readable at any byte."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import sqlite3
import subprocess
import sys
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from jobs.errors import LedgerFault, UnknownJob
from jobs.ledger import log_writer
from jobs.ledger.keeping import Keeping, Limits
from jobs.ledger.kept import KeptJobs, LogExtent
from jobs.ledger.log_file import PIECE_BYTES
from jobs.ledger.store import Ledger
from tests.support.command import ROOT
from tests.support.keeper import PLACE
from tests.support.log_writing import LOGS, id_of, job, log_of

MIB = 1024 * 1024


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keeper"


@pytest.fixture
def keeping(folder: Path) -> Iterator[Keeping]:
    with Keeping(folder, PLACE) as opened:
        opened.record_seen([job(0), job(1)])
        yield opened


def kept(folder: Path, i: int = 0, start: int = 0, stop: int | None = None) -> bytes:
    return b"".join(KeptJobs(folder).read_log(id_of(i), start, stop))


def pieces(folder: Path) -> list[tuple[int, int, int, int]]:
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as db:
        return db.execute("SELECT start, length, at_byte, size FROM log_piece ORDER BY n, start").fetchall()


def test_a_writer_that_is_killed_20_times_keeps_every_byte_of_20_logs(folder: Path) -> None:
    for number in range(20):
        command = [sys.executable, "-m", "tests.support.log_writing", str(folder), str(number)]
        writer = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        assert writer.stdout is not None
        for _ in range(random.randrange(1, 60)):
            writer.stdout.readline()
        time.sleep(random.random() / 200)
        writer.kill()
        writer.wait()
        writer.stdout.close()
        i = random.randrange(LOGS)
        data = kept(folder, i)
        assert data == log_of(i)[: len(data)]
    command = [sys.executable, "-m", "tests.support.log_writing", str(folder), str(LOGS)]
    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    reader = KeptJobs(folder)
    for i in range(LOGS):
        whole = log_of(i)
        assert reader.log_extent(id_of(i)) == LogExtent(len(whole), None, True)
        assert hashlib.sha256(kept(folder, i)).hexdigest() == hashlib.sha256(whole).hexdigest()
    files = list((folder / "logs").iterdir())
    assert (len(files), sum(file.stat().st_size for file in files)) == (LOGS, reader.bytes_kept())


def test_any_range_is_the_same_as_of_the_log_itself(keeping: Keeping, folder: Path) -> None:
    source = random.Random(3)
    whole = source.randbytes(2 * MIB + 12_345)
    begin = 0
    while begin < len(whole):
        end = begin + source.choice((1, 1000, 70_000, 300_000))
        keeping.append_log(id_of(0), whole[begin:end])
        keeping.flush()
        begin = end
    for finished in (False, True):
        if finished:
            keeping.finish_log(id_of(0))
        for _ in range(150):
            start, stop = sorted(source.randrange(len(whole) + 10) for _ in "ab")
            assert kept(folder, 0, start, stop) == whole[start:stop]
        edges = [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, len(whole) - 1, len(whole), len(whole) + 5]
        assert all(kept(folder, 0, a, b) == whole[a:b] for a in edges for b in edges)
        assert kept(folder) == whole


def test_a_range_is_read_without_the_pieces_before_it(keeping: Keeping, folder: Path) -> None:
    whole = random.Random(4).randbytes(3 * MIB)
    keeping.append_log(id_of(0), whole)
    keeping.finish_log(id_of(0))
    file = folder / "logs" / "1.z"
    content = bytearray(file.read_bytes())
    content[:MIB] = bytes(MIB)
    file.write_bytes(content)
    assert kept(folder, 0, 2 * MIB, 2 * MIB + 10) == whole[2 * MIB : 2 * MIB + 10]
    with pytest.raises(LedgerFault, match=r"The log of job job-00 .* cannot be read: bytes 0 to"):
        kept(folder)


def test_a_large_log_is_read_in_little_memory(keeping: Keeping, folder: Path) -> None:
    line = b"epoch 1 loss 0.123456789\n" * 40_000
    for _ in range(64):
        keeping.append_log(id_of(0), line)
    keeping.finish_log(id_of(0))
    tracemalloc.start()
    try:
        total = sum(map(len, KeptJobs(folder).read_log(id_of(0))))
        assert tracemalloc.get_traced_memory()[1] < 4 * MIB
    finally:
        tracemalloc.stop()
    assert total == 64 * len(line)


def test_many_short_pieces_become_few_before_the_job_has_ended(keeping: Keeping, folder: Path) -> None:
    whole = b""
    for number in range(400):
        line = b"step %d of a slow job\n" % number
        whole += line
        keeping.append_log(id_of(0), line)
        keeping.flush()
    assert kept(folder) == whole
    assert len(pieces(folder)) <= log_writer.MOST_SMALL + len(whole) // log_writer.SMALL_BYTES + 1
    assert KeptJobs(folder).bytes_kept() <= 2 * log_writer.DEAD_BYTES


def test_a_finished_log_has_large_pieces_and_no_dead_bytes(keeping: Keeping, folder: Path) -> None:
    whole = random.Random(5).randbytes(MIB)
    for begin in range(0, len(whole), 9_999):
        keeping.append_log(id_of(0), whole[begin : begin + 9_999])
        keeping.flush()
    keeping.finish_log(id_of(0))
    found = pieces(folder)
    assert all(length >= log_writer.SMALL_BYTES for _, length, _, _ in found[:-1])
    (file,) = (folder / "logs").iterdir()
    assert file.stat().st_size <= sum(size for *_, size in found) * 9 // 8
    assert kept(folder) == whole


def test_a_log_without_a_byte_is_complete(keeping: Keeping, folder: Path) -> None:
    assert KeptJobs(folder).log_extent(id_of(0)) is None
    keeping.finish_log(id_of(0))
    assert KeptJobs(folder).log_extent(id_of(0)) == LogExtent(0, None, True)
    assert kept(folder) == b""


def test_of_a_log_over_its_limit_the_first_and_the_last_half_are_kept(folder: Path) -> None:
    whole = random.Random(6).randbytes(5 * MIB)
    with Keeping(folder, PLACE, Limits(log_bytes=MIB)) as keeping:
        keeping.record_seen([job(0), job(1)])
        begin, source = 0, random.Random(7)
        while begin < len(whole):
            end = begin + source.choice((100, 5_000, 90_000))
            keeping.append_log(id_of(0), whole[begin:end])
            keeping.flush()
            begin = end
        keeping.append_log(id_of(1), whole[:MIB])
        keeping.finish_log(id_of(0))
        keeping.finish_log(id_of(1))
    extent = KeptJobs(folder).log_extent(id_of(0))
    assert extent is not None
    assert extent.gap is not None
    first, last = extent.gap
    assert (extent.total, extent.complete, first) == (len(whole), True, MIB // 2)
    assert MIB // 2 <= len(whole) - last < MIB // 2 + PIECE_BYTES
    assert kept(folder) == whole[:first] + whole[last:]
    assert kept(folder, 0, first - 10, last + 10) == whole[first - 10 : first] + whole[last : last + 10]
    assert kept(folder, 0, first, last) == b""
    assert KeptJobs(folder).log_extent(id_of(1)) == LogExtent(MIB, None, True)
    assert KeptJobs(folder).bytes_kept() < 3 * MIB


def test_a_log_over_its_limit_goes_on_after_the_limit_was_changed(folder: Path) -> None:
    whole = random.Random(8).randbytes(9 * MIB)
    for third, limit in enumerate((2 * MIB, MIB, 3 * MIB)):
        with Keeping(folder, PLACE, Limits(log_bytes=limit)) as keeping:
            keeping.record_seen([job(0)])
            assert keeping.next_byte(id_of(0)) == third * 3 * MIB
            for begin in range(third * 3 * MIB, (third + 1) * 3 * MIB, 64 * 1024):
                keeping.append_log(id_of(0), whole[begin : begin + 64 * 1024])
        extent = KeptJobs(folder).log_extent(id_of(0))
        assert extent is not None
        assert extent.gap is not None
        assert kept(folder) == whole[: extent.gap[0]] + whole[extent.gap[1] : extent.total]
        assert extent.total == (third + 1) * 3 * MIB


def test_a_file_that_lost_its_end_goes_on_where_it_ends(folder: Path) -> None:
    """As after a power failure: the index is there, and the last bytes of the file are not."""
    whole = random.Random(9).randbytes(MIB)
    with Keeping(folder, PLACE) as keeping:
        keeping.record_seen([job(0)])
        for begin in range(0, len(whole), 100_000):
            keeping.append_log(id_of(0), whole[begin : begin + 100_000])
            keeping.flush()
    os.truncate(folder / "logs" / "1.z", 555_555)
    with Keeping(folder, PLACE) as keeping:
        begin = keeping.next_byte(id_of(0))
        assert begin == 500_000
        keeping.append_log(id_of(0), whole[begin:])
        keeping.finish_log(id_of(0))
    assert kept(folder) == whole


def test_bytes_that_no_index_has_are_cut_off(folder: Path) -> None:
    """As after a kill between the write of the file and the index."""
    with Keeping(folder, PLACE) as keeping:
        keeping.record_seen([job(0)])
        append(keeping, 0, b"first ")
    file = folder / "logs" / "1.z"
    indexed = file.read_bytes()
    file.write_bytes(indexed + zlib.compress(b"lost") * 1000)
    with Keeping(folder, PLACE) as keeping:
        assert keeping.next_byte(id_of(0)) == len(b"first ")
        assert file.read_bytes() == indexed
        append(keeping, 0, b"second")
    assert kept(folder) == b"first second"


def test_files_that_no_index_has_are_removed(folder: Path) -> None:
    """As after a kill between the index of a rewritten log and the removal of its old file."""
    with Keeping(folder, PLACE) as keeping:
        keeping.record_seen([job(0)])
        append(keeping, 0, b"kept")
    (folder / "logs" / "1.7.z").write_bytes(b"x")
    Keeping(folder, PLACE).close()
    assert [file.name for file in (folder / "logs").iterdir()] == ["1.z"]
    assert kept(folder) == b"kept"


def test_files_of_somebody_else_in_the_folder_stay(folder: Path) -> None:
    """As with `--data .` in a project that has its own folder `logs`."""
    mine = folder / "logs"
    (mine / "2026").mkdir(parents=True)
    (mine / "app.log").write_text("mine")
    for _ in range(2):
        with Keeping(folder, PLACE) as keeping:
            keeping.record_seen([job(0)])
            append(keeping, 0, b"kept")
    assert (mine / "app.log").read_text() == "mine"
    assert (mine / "2026").is_dir()
    assert [each.name for each in folder.iterdir() if "damaged" in each.name] == []


def test_a_log_that_begins_again_is_a_new_record_of_the_job(keeping: Keeping, folder: Path) -> None:
    keeping.append_log(id_of(0), b"the first log\n")
    keeping.begin_log_again(id_of(0))
    assert keeping.next_byte(id_of(0)) == 0
    keeping.append_log(id_of(0), b"again\n")
    keeping.record_seen([job(0)._replace(status="SUCCEEDED", end_time=1_700_000_009_000)])
    keeping.finish_log(id_of(0))
    assert kept(folder) == b"again\n"
    statuses = [entry.status for entry in KeptJobs(folder).jobs().entries if entry.submission_id == id_of(0)]
    assert statuses == ["SUCCEEDED", "DELETED"]
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as db:
        assert db.execute("SELECT total FROM log ORDER BY n").fetchall() == [(14,), (6,)]


def test_an_id_that_is_used_again_has_a_log_of_its_own(keeping: Keeping, folder: Path) -> None:
    keeping.append_log(id_of(0), b"of the first job\n")
    again = job(0)._replace(start_time=1_700_000_999_000)
    keeping.record_seen([again, job(1)])
    assert keeping.next_byte(id_of(0)) == 0
    keeping.append_log(id_of(0), b"second\n")
    keeping.flush()
    assert kept(folder) == b"second\n"
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as db:
        assert db.execute("SELECT total FROM log ORDER BY n").fetchall() == [(17,), (7,)]


def test_a_log_of_a_job_that_was_not_recorded_is_refused(keeping: Keeping) -> None:
    with pytest.raises(UnknownJob, match="nobody"):
        keeping.append_log("nobody", b"x")


def test_what_is_read_while_it_grows_is_its_beginning(keeping: Keeping, folder: Path) -> None:
    whole = random.Random(10).randbytes(2 * MIB)
    keeping.append_log(id_of(0), whole[:MIB])
    keeping.flush()
    reading = KeptJobs(folder).read_log(id_of(0))
    first = next(reading)
    for begin in range(MIB, 2 * MIB, 5_000):  # The file is written anew meanwhile.
        keeping.append_log(id_of(0), whole[begin : begin + 5_000])
        keeping.flush()
    keeping.finish_log(id_of(0))
    assert first + b"".join(reading) == whole[:MIB]


def test_each_log_has_one_event_with_its_extent(keeping: Keeping, folder: Path) -> None:
    for _ in range(50):
        keeping.append_log(id_of(0), b"x" * 10)
        keeping.flush()
    keeping.finish_log(id_of(0))
    events = [event for event in KeptJobs(folder).events() if event.kind == "log"]
    assert [(event.submission_id, event.data) for event in events] == [(id_of(0), {"total": 500, "complete": True})]


def test_the_ledger_has_the_end_of_a_kept_log(keeping: Keeping, folder: Path) -> None:
    whole = random.Random(11).randbytes(2 * MIB)
    keeping.append_log(id_of(0), whole)
    keeping.flush()
    tail = Ledger(folder / "ledger.sqlite").tail(id_of(0))
    assert tail is not None
    assert (tail.data, tail.total, tail.whole) == (whole[-MIB:], len(whole), False)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mounted = tmp_path / "disk"
    mounted.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "none", str(mounted)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs root, to mount a small disk")
    try:
        yield mounted
    finally:
        subprocess.run(["umount", "--lazy", str(mounted)], check=True)


def append(keeping: Keeping, i: int, data: bytes) -> None:
    keeping.append_log(id_of(i), data)
    keeping.flush()


def fault_of(work: Callable[[], None]) -> LedgerFault | None:
    try:
        work()
    except LedgerFault as fault:
        return fault
    return None


def test_on_a_full_disk_nothing_is_lost_and_it_goes_on_when_there_is_room(small_disk: Path) -> None:
    folder, filler = small_disk / "keeper", small_disk / "filler"
    logs = [random.Random(i).randbytes(900_000) for i in (0, 1)]
    with Keeping(folder, PLACE) as keeping:
        keeping.record_seen([job(0), job(1)])
        filler.write_bytes(bytes(4_800_000))
        faults = 0
        for begin in range(0, 900_000, 30_000):
            for i, log in enumerate(logs):
                while keeping.next_byte(id_of(i)) == begin:
                    fault = fault_of(lambda i=i, log=log, begin=begin: append(keeping, i, log[begin : begin + 30_000]))
                    if fault is None:
                        continue
                    assert "no room" in fault.message
                    for each in (0, 1):
                        data = kept(folder, each)
                        assert data == logs[each][: len(data)]
                    faults += 1
                    if faults == 3:
                        filler.unlink()
        assert faults >= 3
        keeping.finish_log(id_of(0))
        keeping.finish_log(id_of(1))
    assert [kept(folder, i) for i in (0, 1)] == logs
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_read_only_volume_is_said_and_can_be_read(small_disk: Path) -> None:
    def mount(mode: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{mode}", str(small_disk)], check=True)

    folder = small_disk / "keeper"
    with Keeping(folder, PLACE) as keeping:
        keeping.record_seen([job(0)])
        append(keeping, 0, b"before ")
        keeping.append_log(id_of(0), b"and after")
    mount("ro")
    with pytest.raises(LedgerFault, match="Read-only file system"):
        Keeping(folder, PLACE)
    assert kept(folder) == b"before and after"
    mount("rw")
    with Keeping(folder, PLACE) as keeping:
        assert keeping.next_byte(id_of(0)) == len(b"before and after")


def test_a_file_that_may_not_grow_is_like_a_full_disk(folder: Path) -> None:
    script = (
        "import resource, signal, sys\n"
        "from tests.support.log_writing import *\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "keeping = Keeping(sys.argv[1], PLACE); keeping.record_seen([job(0)])\n"
        "data = random.Random(1).randbytes(350_000)\n"
        "keeping.append_log(id_of(0), data[:200_000]); keeping.flush()\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))\n"
        "keeping.append_log(id_of(0), data[200_000:])\n"
        "try: keeping.flush()\n"
        "except Exception as error: print(error.message)\n"
        "print(keeping.next_byte(id_of(0)))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "keeping.finish_log(id_of(0))\n"
    )
    command = [sys.executable, "-c", script, str(folder)]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert os.strerror(errno.EFBIG) in shown
    assert "no room" in shown
    assert shown.splitlines()[-1] == "350000"
    assert kept(folder) == random.Random(1).randbytes(350_000)
