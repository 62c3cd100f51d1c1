"""A job id of Ray in place of a submission id, against a server that answers as Ray's job_head.py does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from jobs.connection import Connection
from jobs.dashboard.client import RayJobsApi
from jobs.dashboard.http import HttpClient
from jobs.deadline import Deadline
from jobs.errors import DeadlinePassed, Refused, ServerFault, UnknownJob
from jobs.session import Session
from jobs.spec.submission_id import check_submission_id
from jobs.target.resolve import LocalTarget
from tests.support.proxy import Faults, Proxy, answer

JOB = {"submission_id": "train", "job_id": "03000000", "status": "SUCCEEDED", "type": "SUBMISSION"}
DRIVER = {
    "job_id": "05000000",
    "status": "RUNNING",
    "type": "DRIVER",
    "driver_info": {"id": "05000000", "node_ip_address": "10.0.0.7\x1b[2J", "pid": "4711"},
}


def ask(work: Callable[[Session], Awaitable[Any]], *, paused: bool = False) -> tuple[Any, list[str], list[str]]:
    """What `work` returns, the requests, and the messages."""
    notes: list[str] = []

    def respond(line: str) -> bytes:
        by_id = {"train": JOB, "03000000": JOB, "05000000": DRIVER}
        name = line.partition("/api/jobs/")[2].partition("/")[0]
        if not name:
            return answer(200, json.dumps([JOB, DRIVER]))
        return answer(200, json.dumps(by_id[name])) if name in by_id else answer(404, f"Job {name} does not exist")

    async def main(url: str) -> Any:
        http = HttpClient(url)
        try:
            session = Session(Connection(RayJobsApi(http), LocalTarget({}), url, url), notify=notes.append)
            return await asyncio.wait_for(work(session), 20)
        finally:
            await http.close()

    with Proxy("127.0.0.1", 9) as running:
        running.faults = Faults(paused=True) if paused else Faults(instead=respond)
        return asyncio.run(main(running.url)), running.requests, notes


@pytest.mark.parametrize("ids", [["03000000"], ["03000000", "train"]])
def test_waiting_for_a_job_id_ends_with_the_job(ids: list[str]) -> None:
    results, _, _ = ask(lambda session: session.wait(ids))
    assert [result.submission_id for result in results] == ["train"] * len(ids)


def test_several_are_found_by_their_job_ids() -> None:
    jobs, _, _ = ask(lambda session: session.get_jobs(["03000000", "05000000", "train"]))
    assert [job.submission_id for job in jobs] == ["train", "05000000", "train"]


def test_a_submission_id_is_no_further_request() -> None:
    _, requests, _ = ask(lambda session: session.wait(["train"]))
    assert requests == ["GET /api/jobs/train"]


def test_an_unknown_id_is_refused_at_the_first_answer() -> None:
    async def work(session: Session) -> None:
        for operation in (session.wait(["ffffff00"]), session.print_log("ffffff00", print), session.stop("ffffff00")):
            with pytest.raises(UnknownJob):
                await operation

    _, requests, _ = ask(work)
    assert len(requests) <= 5


@pytest.mark.parametrize(
    ("text", "expected"),
    [("404: Not Found", "has no log API"), ("Job train does not exist", None)],
)
def test_a_404_to_every_way_of_reading_a_log_is_an_answer(text: str, expected: str | None) -> None:
    """It was tried again for 300 s."""
    record = json.dumps({**JOB, "driver_node_id": "n"})

    async def main(url: str) -> None:
        session = Session(Connection(RayJobsApi(HttpClient(url)), LocalTarget({}), url, url))
        await asyncio.wait_for(session.print_log("03000000", print), 20)

    with Proxy("127.0.0.1", 9) as running:
        no_log = answer(404, text, "text/plain")
        running.faults = Faults(instead=lambda line: no_log if "logs" in line else answer(200, record))
        if expected is None:
            asyncio.run(main(running.url))
        else:
            with pytest.raises(ServerFault, match=expected):
                asyncio.run(main(running.url))
        assert len(running.requests) == 4


def test_a_deadline_holds_for_a_job_id_while_the_server_is_silent() -> None:
    with pytest.raises(DeadlinePassed):
        ask(lambda session: session.wait(["03000000"], deadline=Deadline(1.0)), paused=True)


@pytest.mark.parametrize(
    "work",
    [
        lambda session: session.print_log("05000000", print),
        lambda session: session.run_to_end("05000000", print, known_to_exist=False),
        lambda session: session.stop("05000000"),
        lambda session: session.stop("05000000", wait=False),
        lambda session: session.delete("05000000"),
    ],
)
def test_a_driver_is_named_with_its_process_and_is_not_asked_to_do_it(
    work: Callable[[Session], Awaitable[Any]],
) -> None:
    async def refused(session: Session) -> str:
        with pytest.raises(Refused) as raised:
            await work(session)
        return str(raised.value)

    text, requests, _ = ask(refused)
    assert "is a driver" in text
    assert "process 4711 on node 10.0.0.7" in text
    assert "\x1b" not in text
    assert {line.split(" ")[0] for line in requests} == {"GET"}


@pytest.mark.parametrize("submission_id", ["03000000", "ff1a0000"])
def test_a_new_submission_id_may_not_be_a_job_id(submission_id: str) -> None:
    with pytest.raises(Refused, match=f"Ray's job ids.*\n.*logs --follow {submission_id}"):
        check_submission_id(submission_id)


@pytest.mark.parametrize("submission_id", ["20261123", "deadbeef", "0300000", "030000000", "A3000000"])
def test_other_ids_of_eight_digits_stay_allowed(submission_id: str) -> None:
    assert check_submission_id(submission_id) == submission_id
