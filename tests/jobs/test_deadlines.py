"""Each deadline ends what it is for, says what was waited for, and ends nothing else."""

from __future__ import annotations

import asyncio

import pytest

from jobs.dashboard.submission import submit_once
from jobs.deadline import Deadline
from jobs.errors import DeadlinePassed
from jobs.spec.job_info import Result
from jobs.spec.job_spec import JobRequest, JobSpec
from jobs.spec.time_limits import TimeLimits
from jobs.submit import prepare
from tests.jobs.conftest import Head, new_id, session_at
from tests.support.command import Cli
from tests.support.proxy import Faults, Proxy


def test_a_job_that_does_not_start_in_time_is_stopped_and_the_deadline_is_named(cli: Cli) -> None:
    words = ("submit", "--start-timeout", "3", "--entrypoint-num-gpus", "64", "--", "true")
    done = cli(*words, timeout=100)
    assert done.returncode == 5
    assert b"--start-timeout (3 s)" in done.stderr


def test_a_further_attempt_has_a_start_timeout_of_its_own(cli: Cli) -> None:
    words = ("--retries", "1", "--retry-on", "75", "--start-timeout", "20", "--", "sleep 22; exit 75")
    done = cli("submit", *words)
    assert done.returncode == 1, done.stderr


def test_an_upload_may_take_longer_than_the_submission(
    head: Head, proxy: Proxy, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("package")
    (folder / "data").write_text(new_id())
    proxy.faults = Faults(delay_answer=lambda line: 4.0 if line.startswith("PUT") else 0.0)

    async def submit() -> None:
        async with session_at(head, proxy.url) as session:
            await session.submit(await prepare(JobRequest(JobSpec("true", {"working_dir": str(folder)}))), seconds=3.0)

    asyncio.run(submit())
    assert sum(line.startswith("PUT") for line in proxy.requests) == 1


def test_waiting_for_several_ends_in_time_while_the_server_is_silent(head: Head, proxy: Proxy) -> None:
    async def wait() -> None:
        jobs = [new_id(), new_id()]
        async with session_at(head, proxy.url, patience=60) as session:
            for job in jobs:
                await submit_once(session.client, JobSpec("sleep 100"), job)
            proxy.faults = Faults(delay_answer=lambda _line: 100.0)
            with pytest.raises(DeadlinePassed, match="2 of 2 jobs"):
                # Its patience is a minute.
                await asyncio.wait_for(session.wait(jobs, deadline=Deadline(2.0)), 30)
        async with session_at(head) as session:
            for job in jobs:
                await session.client.stop_job(job)

    asyncio.run(wait())


def test_a_job_that_ends_by_itself_at_its_deadline_is_not_said_to_be_stopped(head: Head) -> None:
    async def run() -> Result:
        async with session_at(head) as session:
            job = new_id()
            await submit_once(session.client, JobSpec("sleep 5"), job)
            stop = session.stop

            async def late(submission_id: str, **options: float):  # type: ignore[no-untyped-def]
                await session.watcher.wait([submission_id])
                return await stop(submission_id, **options)  # type: ignore[arg-type]

            session.stop = late  # type: ignore[method-assign]
            return await session.run_to_end(job, lambda _piece: None, limits=TimeLimits(run=1.0))

    assert asyncio.run(run()).status == "SUCCEEDED"


def test_a_stop_that_takes_too_long_gives_up_with_a_report(head: Head) -> None:
    async def stop() -> None:
        async with session_at(head) as session:
            job = new_id()
            await submit_once(session.client, JobSpec("true", entrypoint_num_gpus=64), job)
            with pytest.raises(DeadlinePassed, match="was asked to stop and is still PENDING") as caught:
                await session.stop(job, seconds=3)
            assert f"why {job}`" in caught.value.remedy

    asyncio.run(stop())
