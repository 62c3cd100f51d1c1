"""Every byte of every log is kept once, in order, whatever happens to Ray, the network and the disk."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jobs.dashboard.logs import LogReader
from jobs.keeper import follow
from jobs.ledger import log_writer
from jobs.ledger.keeping import Keeping, Limits
from jobs.ledger.kept import LEDGER_NAME
from jobs.spec.job_info import JobInfo
from tests.support.fake_ray import FakeRay, fake_ray
from tests.support.keeper_loop import be_fast, looping, until


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    be_fast(monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "kept"


@contextmanager
def writing(ray: FakeRay, submission_ids: list[str]) -> Iterator[None]:
    """Jobs write random bytes of random length into their logs until the end of the context, and then end."""
    stop = threading.Event()

    def write() -> None:
        source = random.Random(1)
        while not stop.wait(0.01):
            ray.write(source.choice(submission_ids), source.randbytes(source.choice((1, 100, 70_000))))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        for each in submission_ids:
            ray.end(each)


def test_what_a_job_writes_between_the_last_read_and_its_end_is_kept(folder: Path) -> None:
    with fake_ray() as ray:
        ray.add("a", log=b"the begin, ")
        with looping(ray, folder) as loop:

            def end() -> None:
                if ray.jobs["a"]["status"] == "RUNNING":
                    ray.write("a", b"the end")
                    ray.end("a")
                    until(lambda: loop.status("a") == "SUCCEEDED")

            ray.on_half = end
            until(lambda: loop.is_complete("a"))
            assert loop.log("a") == b"the begin, the end"


@pytest.mark.parametrize("has_agent", [True, False])
def test_logs_are_kept_while_they_grow_and_are_whole_when_the_jobs_have_ended(folder: Path, has_agent: bool) -> None:
    ids = [f"job-{i}" for i in range(10)]
    with fake_ray(has_agent=has_agent) as ray:
        for each in ids:
            ray.add(each, log=b"begin\n")
        with looping(ray, folder) as loop:
            with writing(ray, ids):
                until(lambda: sum(len(loop.log(each)) for each in ids) > 1_000_000)
            until(lambda: all(loop.is_complete(each) for each in ids))
            assert all(loop.log(each) == ray.log(each) for each in ids)


def test_more_logs_than_live_streams_are_whole_in_the_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "MOST_STREAMS", 2)
    ids = [f"job-{i}" for i in range(6)]
    with fake_ray(has_agent=False) as ray:
        for each in ids:
            ray.add(each, log=b"begin of %s\n" % each.encode())
        with looping(ray, folder) as loop:
            until(lambda: sum(bool(loop.log(each)) for each in ids) == 2)
            until(lambda: ray.requests["/api/jobs/"] > 5)
            assert ray.requests["/api/v0/logs/stream"] == 2
            for each in ids:
                ray.write(each, b"end")
                ray.end(each)
            until(lambda: all(loop.is_complete(each) for each in ids))
            assert all(loop.log(each) == ray.log(each) for each in ids)


def test_a_keeper_that_was_stopped_goes_on_at_the_byte_where_it_was(folder: Path) -> None:
    with fake_ray() as ray:
        ray.add("a", log=b"one, ")
        with looping(ray, folder) as loop:
            until(lambda: loop.log("a") == b"one, ")
        ray.write("a", b"two")
        ray.end("a")
        asked: list[str] = []
        ray.on_log = asked.append
        with looping(ray, folder) as loop:
            until(lambda: loop.is_complete("a"))
            assert loop.log("a") == b"one, two"
        assert asked == ["bytes=5-"]
        with looping(ray, folder) as loop:  # A complete log is not read again.
            until(lambda: loop.keeper.state().behind_seconds is not None)
            until(lambda: ray.requests["/api/jobs/"] > 5)
        assert asked == ["bytes=5-"]


def test_old_jobs_are_read_newest_first_and_a_few_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "MOST_OLD", 1)
    with fake_ray() as ray:
        for i in range(20):
            ray.add(f"job-{i:02}", "SUCCEEDED", b"log %d" % i)
        order: list[str] = []
        ray.on_log_of = order.append
        with looping(ray, folder) as loop:
            until(lambda: all(loop.is_complete(f"job-{i:02}") for i in range(20)))
        assert order == [f"job-{i:02}" for i in reversed(range(20))]


def test_a_log_that_shrinks_begins_again_and_the_old_one_is_kept(folder: Path) -> None:
    with fake_ray() as ray:
        ray.add("a", log=b"the first log, which is long")
        with looping(ray, folder) as loop:
            until(lambda: loop.log("a").endswith(b"long"))
            ray.logs["a"] = b"the second"
            until(lambda: loop.log("a") == b"the second")
            ray.end("a")
            until(lambda: loop.is_complete("a"))
            assert [entry.status for entry in loop.kept.jobs().entries] == ["SUCCEEDED", "DELETED"]


def test_a_log_whose_node_is_dead_ends_where_it_is(folder: Path) -> None:
    with fake_ray() as ray:
        ray.add("a", log=b"what was read")
        with looping(ray, folder) as loop:
            until(lambda: loop.log("a") == b"what was read")
            del ray.logs["a"]
            ray.node_state = "DEAD"
            ray.end("a", "FAILED")
            until(lambda: not loop.keeper._followers._logs)
            assert (loop.log("a"), loop.is_complete("a")) == (b"what was read", False)


def test_a_log_that_cannot_be_read_now_is_read_later_unless_its_node_is_dead(folder: Path) -> None:
    with fake_ray() as ray:
        ray.add("a", log=b"one, ")
        ray.add("b", log=b"one, ")
        with looping(ray, folder) as loop:
            until(lambda: loop.log("a") == loop.log("b") == b"one, ")
            ray.logs_fail = True
            ray.write("a", b"two")
            ray.end("a")
            until(lambda: loop.status("a") == "SUCCEEDED" and loop.keeper._followers._logs["a"].failures > 5)
            ray.logs_fail = False
            until(lambda: loop.is_complete("a"))
            assert loop.log("a") == b"one, two"
            ray.logs_fail = True
            ray.end("b", "FAILED")
            ray.node_state = "DEAD"
            until(lambda: not loop.keeper._followers._logs)
            assert (loop.log("b"), loop.is_complete("b")) == (b"one, ", False)


def test_a_job_that_never_had_a_driver_has_a_complete_and_empty_log(folder: Path) -> None:
    with fake_ray() as ray:
        ray.add("a", "PENDING")
        with looping(ray, folder) as loop:
            until(lambda: loop.status("a") == "PENDING")
            ray.end("a", "FAILED")
            until(lambda: loop.is_complete("a"))
            assert loop.log("a") == b""


def test_a_log_that_rests_is_asked_less_often_and_at_once_when_its_job_has_ended(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "LONGEST_PAUSE_SECONDS", 100.0)
    monkeypatch.setattr(follow, "FIRST_PAUSE_SECONDS", 10.0)
    with fake_ray() as ray:
        ray.add("a", log=b"")
        with looping(ray, folder) as loop:
            until(lambda: ray.requests["/logs/ID"] == 1)
            until(lambda: ray.requests["/api/jobs/"] > 10)
            assert ray.requests["/logs/ID"] == 1
            ray.write("a", b"all of it")
            ray.end("a")
            until(lambda: loop.is_complete("a"), 8)
            assert loop.log("a") == b"all of it"
        assert ray.requests["/logs/ID"] == 2


class _Broken(LogReader):
    """Fails in a way that nobody has foreseen, for the first reads of one job."""

    reads = 0

    async def has_agent(self, job: JobInfo) -> bool:
        if job.submission_id == "a":
            _Broken.reads += 1
            if _Broken.reads <= 3:
                raise AttributeError("nobody has foreseen this")
        return await super().has_agent(job)


def test_a_log_that_fails_in_an_unforeseen_way_is_said_and_read_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "LogReader", _Broken)
    with fake_ray() as ray:
        ray.add("a", log=b"begin, ")
        ray.add("b", log=b"the other one")
        with looping(ray, folder) as loop:
            until(lambda: loop.log("b") == b"the other one")
            until(lambda: any("nobody has foreseen this" in text for text in loop.messages))
            ray.write("a", b"end")
            ray.end("a")
            until(lambda: loop.is_complete("a"))
            assert loop.log("a") == b"begin, end"
            until(lambda: not loop.keeper.state().problems)


def test_a_log_that_rests_for_days_is_still_read(folder: Path) -> None:
    with fake_ray() as ray:
        ray.add("a", log=b"begin, ")
        with looping(ray, folder) as loop:
            until(lambda: loop.log("a") == b"begin, ")
            (log,) = loop.keeper._followers._logs.values()
            log.failures = 10**6
            assert loop.keeper._followers._pause(log) == follow.LONGEST_FAILURE_SECONDS
            log.failures, log.rests = 0, 10**6
            time.sleep(0.5)  # Some turns.
            ray.write("a", b"end")
            ray.end("a")
            until(lambda: loop.is_complete("a"))
            assert loop.log("a") == b"begin, end"


@pytest.mark.parametrize("id_", ["a/b c", "ä\u202e", "<script>", "..", "%2e%2e", "a\x1b[31m", "half \ud800"])
def test_a_job_with_an_odd_id_is_kept_and_harms_no_other(folder: Path, id_: str) -> None:
    with fake_ray() as ray:
        ray.add(id_, log=b"odd")
        ray.add("other", log=b"log")
        with looping(ray, folder) as loop:
            ray.end(id_)
            ray.end("other")
            until(lambda: loop.is_complete("other"))
            until(lambda: len(loop.kept.jobs(status=["SUCCEEDED"]).entries) == 2)


def test_bytes_of_every_kind_are_kept_as_they_are(folder: Path) -> None:
    log = bytes(range(256)) + b"\x1b[31m\r\n<script>alert(1)</script>\xff\xc3 50%\r100%\0" + "ä".encode()[:1]
    with fake_ray() as ray:
        ray.add("a", "SUCCEEDED", log)
        with looping(ray, folder) as loop:
            until(lambda: loop.is_complete("a"))
            assert loop.log("a") == log


def test_a_full_disk_is_said_and_nothing_is_lost_when_there_is_room_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    is_full = threading.Event()
    write = os.pwrite

    def pwrite(descriptor: int, data: bytes, at: int) -> int:
        if is_full.is_set():
            raise OSError(28, "No space left on device")
        return write(descriptor, data, at)

    monkeypatch.setattr(os, "pwrite", pwrite)
    monkeypatch.setattr(log_writer, "BUFFER_BYTES", 100_000)  # So that bytes are refused, too.
    ids = ["a", "b", "c"]
    with fake_ray() as ray:
        for each in ids:
            ray.add(each, log=b"begin\n")
        with looping(ray, folder) as loop:
            until(lambda: all(loop.log(each) for each in ids))
            with writing(ray, ids):
                is_full.set()
                until(lambda: loop.keeper.state().problems)
                (problem,) = loop.keeper.state().problems
                assert problem.startswith("There is no room for the keeper's folder")
                time.sleep(0.5)
            is_full.clear()
            until(lambda: all(loop.is_complete(each) for each in ids))
            assert all(loop.log(each) == ray.log(each) for each in ids)
            until(lambda: not loop.keeper.state().problems)
            assert [message.partition(" for ")[0] for message in loop.messages] == [
                "There is no room", "Logs are written again.",
            ]  # fmt: skip


def test_a_database_that_is_damaged_while_it_is_used_is_set_aside_and_all_is_read_again(folder: Path) -> None:
    with fake_ray() as ray:
        for i in range(50):
            ray.add(f"job-{i}", "SUCCEEDED", b"log of job %d" % i * 100)
        ray.add("runs", log=b"begin, ")
        with looping(ray, folder) as loop:
            until(lambda: all(loop.is_complete(f"job-{i}") for i in range(50)) and loop.log("runs"))
            with (folder / LEDGER_NAME).open("r+b") as file:
                file.write(b"\xff" * 4096 * 8)
            ray.write("runs", b"end")
            ray.end("runs")
            until(lambda: list(folder.glob("ledger.sqlite.damaged-*")))
            until(lambda: loop.is_complete("runs") and all(loop.is_complete(f"job-{i}") for i in range(50)))
            assert loop.log("runs") == b"begin, end"
            assert all(loop.log(f"job-{i}") == ray.log(f"job-{i}") for i in range(50))
            until(lambda: not loop.keeper.state().problems)
            assert any("is damaged" in message for message in loop.messages)


def test_jobs_that_are_removed_by_the_limits_are_not_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jobs.keeper import keeper

    monkeypatch.setattr(keeper, "RETAIN_SECONDS", 0.1)
    with fake_ray() as ray:
        for i in range(4):
            ray.add(f"job-{i}", "SUCCEEDED", random.Random(i).randbytes(50_000), end_time=1_700_000_100_000 + i)
        ray.add("runs", log=b"x" * 50_000)
        with looping(ray, folder, Limits(retain_bytes=110_000)) as loop:
            until(lambda: len(loop.kept.jobs().entries) == 3 and loop.is_complete("job-3"))
            reads = ray.requests["/logs/ID"]
            until(lambda: ray.requests["/api/jobs/"] > 10)
            assert {entry.submission_id for entry in loop.kept.jobs().entries} == {"job-2", "job-3", "runs"}
            assert ray.requests["/logs/ID"] <= reads + 20  # Those of the job that runs.


def test_bytes_are_never_appended_at_another_place(tmp_path: Path) -> None:
    from tests.support.keeper import PLACE, running

    with Keeping(tmp_path, PLACE) as keeping:
        keeping.record_seen([running("a")])
        follow._append("a", 0, b"one", keeping)
        with pytest.raises(follow._OutOfStep):
            follow._append("a", 0, b"one", keeping)
        assert keeping.next_byte("a") == 3
