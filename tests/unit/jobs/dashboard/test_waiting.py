"""When a job is lost, when it is unknown, and what ends the wait for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from jobs.dashboard import waiting
from jobs.dashboard.client import RayJobsApi
from jobs.dashboard.http import HttpClient
from jobs.dashboard.waiting import LOOKS_UNTIL_LOST, JobWatcher
from jobs.deadline import Deadline
from jobs.errors import DeadlinePassed, UnknownJob, Unreachable
from jobs.spec.job_info import JobInfo
from tests.support.proxy import Faults, Proxy, answer

RUNNING = {"submission_id": "j", "status": "RUNNING", "entrypoint": "true"}
ENDED = {**RUNNING, "status": "SUCCEEDED"}
ABSENT = answer(404, "Job j does not exist", "text/plain")


def found(*jobs: dict[str, str]) -> bytes:
    """The answer with one job, or with a list of jobs."""
    return answer(200, json.dumps(jobs[0] if len(jobs) == 1 else list(jobs)))


@pytest.fixture
def server() -> Iterator[Proxy]:
    with Proxy("127.0.0.1", 9) as running:
        yield running


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks are a tenth of a second apart instead of a second."""
    monkeypatch.setattr(waiting, "LOOK_SECONDS", 0.1)


def answers(server: Proxy, *bodies: bytes) -> None:
    """One body after the other; the last one for ever."""
    rest = list(bodies)
    server.faults = Faults(instead=lambda _line: rest.pop(0) if len(rest) > 1 else rest[0])


def wait(server: Proxy, *ids: str, **options: object) -> dict[str, JobInfo | None]:
    async def main() -> dict[str, JobInfo | None]:
        http = HttpClient(server.url)
        try:
            return await JobWatcher(RayJobsApi(http)).wait(ids, longest_pause=0.1, **options)  # type: ignore[arg-type]
        finally:
            await http.close()

    return asyncio.run(asyncio.wait_for(main(), 60))


def test_a_job_is_lost_after_three_looks_in_a_row_without_it(server: Proxy) -> None:
    answers(server, found(RUNNING), ABSENT)
    assert wait(server, "j") == {"j": None}
    absent = len(server.requests) - 1
    assert absent >= LOOKS_UNTIL_LOST


def test_a_head_that_has_not_read_its_store_yet_loses_no_job(server: Proxy) -> None:
    answers(server, found(RUNNING), ABSENT, ABSENT, found(ENDED))
    result = wait(server, "j")["j"]
    assert result is not None
    assert result.status == "SUCCEEDED"


def test_the_same_rule_holds_for_several_jobs(server: Proxy) -> None:
    other = {**ENDED, "submission_id": "k"}
    answers(server, found(RUNNING, other), answer(200, json.dumps([other])))
    results = wait(server, "j", "k")
    assert results["j"] is None
    assert results["k"] is not None
    assert set(server.requests) == {"GET /api/jobs/"}
    assert len(server.requests) == 1 + LOOKS_UNTIL_LOST


def test_a_job_that_never_was_there_is_unknown_at_the_first_look(server: Proxy) -> None:
    answers(server, ABSENT)
    with pytest.raises(UnknownJob):
        wait(server, "j")
    assert len(server.requests) == 1


def test_an_accepted_job_that_is_absent_from_the_first_look_on_is_lost(server: Proxy) -> None:
    answers(server, ABSENT)
    assert wait(server, "j", known_to_exist=True) == {"j": None}


@pytest.mark.parametrize("ids", [("j",), ("j", "k")])
def test_a_deadline_ends_the_wait_while_the_server_is_silent(server: Proxy, ids: tuple[str, ...]) -> None:
    server.faults = Faults(paused=True)
    with pytest.raises(DeadlinePassed):
        wait(server, *ids, deadline=Deadline(1.5), patience=60.0)


def test_without_a_deadline_patience_ends_it(server: Proxy) -> None:
    server.faults = Faults(drop_request=lambda _line: True)
    with pytest.raises(Unreachable):
        wait(server, "j", patience=1.0)
