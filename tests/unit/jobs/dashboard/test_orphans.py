"""A running job whose driver's node is dead is given to Ray to look after; any other is left alone."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from jobs.batch import jobs_file as batch
from jobs.batch.prepare import prepare_batch
from jobs.batch.run import BatchItem, BatchOptions, BatchRun
from jobs.cli.main import main
from jobs.connection import Connection
from jobs.dashboard import orphans, waiting
from jobs.dashboard.client import RayJobsApi
from jobs.dashboard.http import HttpClient
from jobs.dashboard.waiting import JobWatcher
from jobs.ledger.recorder import Recorder, place_of
from jobs.ledger.store import Ledger
from jobs.session import Session
from jobs.spec.job_info import JobInfo
from jobs.target.resolve import LocalTarget
from tests.support.http_server import JsonHandler, running

JOB = "on-the-head"


HEAD_STARTED = 1_000_000


class Head(ThreadingHTTPServer):
    """As Ray answers after its head came back: the job is RUNNING until something needs the job manager."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.node: Any = "DEAD"
        self.status = "RUNNING"
        self.submitted = 1000
        self.jobs = [JOB]
        self.stops = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answers(JsonHandler):
    server: Head

    def do_GET(self) -> None:
        if self.path.startswith("/api/v0/nodes"):
            nodes = [] if self.server.node is None else [{"node_id": "n1", "state": self.server.node}]
            if "ALIVE" in self.path:
                nodes = [{"node_id": "n2", "state": "ALIVE", "is_head_node": True, "start_time_ms": HEAD_STARTED}]
            return self.answer({"result": True, "data": {"result": {"result": nodes}}})
        if self.path == "/api/jobs/":
            return self.answer([self._job(each) for each in self.server.jobs])
        return self.answer(self._job(JOB))

    def _job(self, name: str) -> dict[str, Any]:
        status = "FAILED" if self.server.stops else self.server.status
        return {"submission_id": name, "status": status, "start_time": self.server.submitted} | (
            {"driver_node_id": "n1"} if status != "PENDING" else {}
        )

    def do_POST(self) -> None:
        if self.path == "/api/jobs/":
            wanted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["submission_id"]
            self.server.jobs.append(wanted)
            return self.answer({"submission_id": wanted})
        assert self.path in [f"/api/jobs/{each}/stop" for each in self.server.jobs]
        self.server.stops += 1
        return self.answer({"stopped": False})


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch) -> Iterator[Head]:
    monkeypatch.setattr(waiting, "SETTLE_SECONDS", 0.1)  # this head needs no time to check its jobs
    with running(Head()) as server:
        yield server


def ask(head: Head) -> str:
    async def once() -> str:
        http = HttpClient(head.url)
        try:
            return (await JobWatcher(RayJobsApi(http)).get_job(JOB)).status
        finally:
            await http.close()

    return asyncio.run(once())


def test_a_job_whose_driver_died_with_its_node_is_not_running_for_ever(head: Head) -> None:
    assert ask(head) == "FAILED"
    assert head.stops == 1


@pytest.mark.parametrize("node", ["ALIVE", None])
def test_a_job_whose_node_lives_or_is_not_known_is_never_touched(head: Head, node: str | None) -> None:
    head.node = node
    assert ask(head) == "RUNNING"
    assert head.stops == 0


def test_a_job_that_waits_since_before_the_head_was_replaced_is_given_to_ray(head: Head) -> None:
    head.status, head.submitted = "PENDING", HEAD_STARTED + 5000
    assert ask(head) == "PENDING"
    assert head.stops == 0
    head.submitted = HEAD_STARTED - 5000
    ask(head)
    assert head.stops == 1


def test_the_status_of_several_is_that_of_each(head: Head) -> None:
    head.jobs.append("another")

    async def many() -> list[JobInfo]:
        return await JobWatcher(RayJobsApi(HttpClient(head.url))).get_jobs([JOB, "another"])

    assert [info.status for info in asyncio.run(many())] == ["FAILED", "FAILED"]


def test_the_list_says_of_a_dead_driver_what_status_says(
    head: Head, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # the handlers are the test runner's
    monkeypatch.setattr(sys, "argv", ["jobs", "list", "--address", head.url, "--output", "json"])
    with pytest.raises(SystemExit):
        main()
    listed = capfd.readouterr()
    assert [job["status"] for job in json.loads(listed.out)] == ["FAILED"], listed.err


def test_a_batch_whose_driver_died_with_the_old_head_ends(
    head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans, "CHECK_SECONDS", 1.0)

    async def run() -> list[BatchItem]:
        whole = replace(batch.from_sweep(["x {i}"], {}, {"i": ["1"]}), name="b")
        prepared = await prepare_batch(whole)
        target = LocalTarget({})
        recorder = Recorder(Ledger(tmp_path / "ledger"), place_of(target, head.url))
        connection = Connection(RayJobsApi(HttpClient(head.url)), target, head.url, head.url)
        session = Session(connection, patience=10, recorder=recorder)
        return await asyncio.wait_for(BatchRun(session, prepared, BatchOptions()).run(), 60)

    (track,) = asyncio.run(run())
    assert track.result is not None
    assert track.result.status == "FAILED"
