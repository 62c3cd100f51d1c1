"""A submission happens once, whatever happens to its requests and answers."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.dashboard.submission import Submission, submit_once
from jobs.deadline import Deadline
from jobs.errors import Conflict, DeadlinePassed, JobLost, JobsError, Unreachable
from jobs.ledger.recorder import Recorder, origin_of, place_of
from jobs.ledger.store import Ledger
from jobs.session import Session
from jobs.spec.job_info import JobInfo
from jobs.spec.job_spec import JobRequest, JobSpec
from jobs.submit import PreparedJob, prepare
from jobs.target.resolve import LocalTarget
from tests.jobs.conftest import Head, new_id, session_at
from tests.support.command import Cli
from tests.support.proxy import Faults, Proxy, answer, times

SUBMIT = "POST /api/jobs/"


PAST = answer(500, "Traceback ...\nRuntimeError: the agent is gone", "text/plain")


def submissions(line: str) -> bool:
    return line == SUBMIT


def first_only(body: bytes) -> Callable[[str], bytes | None]:
    decide = times(1, submissions)
    return lambda line: body if decide(line) else None


async def submit_through(head: Head, proxy: Proxy, job: str, entrypoint: str = "true") -> Submission:
    async with session_at(head, proxy.url) as session:
        return await submit_once(session.client, JobSpec(entrypoint), job, deadline=Deadline(60))


async def jobs_with(head: Head, *ids: str) -> list[JobInfo]:
    async with session_at(head) as session:
        return [job for job in await session.client.list_jobs() if job.submission_id in ids]


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param(lambda: Faults(drop_request=times(1, submissions)), id="request lost"),
        pytest.param(lambda: Faults(drop_answer=times(1, submissions)), id="answer lost"),
        pytest.param(lambda: Faults(instead=first_only(PAST)), id="500 with a traceback"),
        pytest.param(lambda: Faults(instead=first_only(answer(502, "<html>", "text/html"))), id="502 with a web page"),
        pytest.param(lambda: Faults(instead=first_only(answer(200, "<html>", "text/html"))), id="200 with a web page"),
        pytest.param(lambda: Faults(instead=first_only(answer(200, '{"subm'))), id="JSON cut off"),
        pytest.param(lambda: Faults(instead=first_only(answer(200, '{"subm', length=99))), id="answer cut off"),
    ],
)
def test_what_befalls_a_submission_never_makes_a_second_job(
    head: Head, proxy: Proxy, faults: Callable[[], Faults]
) -> None:
    job = new_id()
    proxy.faults = faults()
    asyncio.run(submit_through(head, proxy, job))
    assert proxy.requests.count(SUBMIT) <= 2
    assert len(asyncio.run(jobs_with(head, job))) == 1


def test_a_late_answer_never_makes_a_second_job(head: Head, proxy: Proxy) -> None:
    job = new_id()
    late = times(1, submissions)
    proxy.faults = Faults(delay_answer=lambda line: 5.0 if late(line) else 0.0)

    async def impatient() -> Submission:
        async with session_at(head, proxy.url) as session:
            return await submit_once(session.client, JobSpec("true"), job, deadline=Deadline(60), seconds=1.0)

    assert asyncio.run(impatient()).attached
    assert len(asyncio.run(jobs_with(head, job))) == 1


def test_fifty_dropped_answers_and_requests_make_no_duplicate_and_no_error(head: Head, proxy: Proxy) -> None:
    ids = [new_id() for _ in range(50)]
    seen = 0

    def every_other(line: str) -> bool:
        nonlocal seen
        seen += submissions(line)
        return submissions(line) and seen % 2 == 1

    async def all_of_them() -> None:
        async with session_at(head, proxy.url) as session:
            gate = asyncio.Semaphore(8)

            async def one(job: str) -> None:
                async with gate:
                    # Resources that nobody has: the jobs stay PENDING, no process is started for them.
                    spec = JobSpec("true", entrypoint_num_gpus=1000)
                    await submit_once(session.client, spec, job, deadline=Deadline(120))

            for fault in ("drop_answer", "drop_request"):
                proxy.faults = Faults(**{fault: every_other})
                half = ids[:25] if fault == "drop_answer" else ids[25:]
                await asyncio.gather(*(one(job) for job in half))
            proxy.heal()
            there = [job.submission_id for job in await session.client.list_jobs() if job.submission_id in ids]
            assert sorted(there) == sorted(ids)
            await asyncio.gather(*(session.client.stop_job(job) for job in ids))

    asyncio.run(all_of_them())
    assert seen > 50


def test_no_agent_just_after_start_is_waited_out(head: Head, proxy: Proxy) -> None:
    job, said = new_id(), []
    body = answer(500, "No available agent to submit job, please try again later.", "text/plain")
    busy = times(5, submissions)
    proxy.faults = Faults(instead=lambda line: body if busy(line) else None)

    async def submit() -> Submission:
        async with session_at(head, proxy.url) as session:
            return await submit_once(session.client, JobSpec("true"), job, deadline=Deadline(60), notify=said.append)

    assert not asyncio.run(submit()).attached
    assert len(said) == 1


def test_a_server_that_refuses_for_good_is_not_asked_for_ever(head: Head, proxy: Proxy) -> None:
    proxy.faults = Faults(instead=lambda line: PAST if submissions(line) else None)
    with pytest.raises(Unreachable, match="the agent is gone"):
        asyncio.run(submit_through(head, proxy, new_id()))
    assert proxy.requests.count(SUBMIT) == 3


def test_an_unclear_submission_says_how_to_find_out(head: Head, proxy: Proxy) -> None:
    job = new_id()
    proxy.faults = Faults(drop_request=lambda _line: True)

    async def submit() -> None:
        async with session_at(head, proxy.url) as session:
            await submit_once(session.client, JobSpec("true"), job, deadline=Deadline(2))

    with pytest.raises(Unreachable, match=f"--submission-id {job}"):
        asyncio.run(submit())


def test_the_same_id_and_content_attaches_and_returns_the_result(cli: Cli) -> None:
    words = ("--submission-id", new_id(), "--", "echo once; exit 5")
    first, second = cli("submit", *words), cli("submit", *words)
    assert (first.returncode, second.returncode) == (1, 1)
    assert b"attached" in second.stderr
    assert second.stdout == first.stdout


def test_a_key_is_one_job_however_often_it_is_submitted(cli: Cli) -> None:
    key = new_id()
    first, second = (cli("submit", "--no-wait", "--key", key, "--", "true") for _ in range(2))
    assert first.stdout == second.stdout
    assert (first.returncode, second.returncode) == (0, 0)


def test_other_content_under_the_same_id_is_refused_with_the_difference(cli: Cli) -> None:
    job = new_id()
    env = '{"env_vars": {"API_KEY": "secret-one", "SAME": "x"}, "config": {"from": "https://me:secret-three@host/x"}}'
    cli("submit", "--no-wait", "--submission-id", job, "--runtime-env-json", env, "--", "echo one")
    other = env.replace("secret-one", "secret-two").replace("host/x", "host/y")
    done = cli("submit", "--submission-id", job, "--runtime-env-json", other, "--", "echo two")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b'there "echo one", here "echo two"' in done.stderr
    assert b"API_KEY" in done.stderr
    assert b"SAME" not in done.stderr
    assert b"secret-" not in done.stderr


def test_two_clients_with_the_same_id_at_once_make_one_job(head: Head) -> None:
    job = new_id()

    async def both() -> list[Submission | BaseException]:
        async with session_at(head) as session:
            submits = (submit_once(session.client, JobSpec("true"), job) for _ in range(2))
            return await asyncio.gather(*submits, return_exceptions=True)

    results = asyncio.run(both())
    assert sorted(each.attached for each in results if isinstance(each, Submission)) == [False, True]


def test_another_clients_job_under_this_id_is_not_taken_for_ours(head: Head) -> None:
    job = new_id()

    async def submit() -> None:
        async with session_at(head) as session:
            body = {"entrypoint": "true", "submission_id": job}
            await session.client.http.once("POST", "/api/jobs/", json=body)
            await submit_once(session.client, JobSpec("true"), job)

    with pytest.raises(Conflict, match="another client"):
        asyncio.run(submit())


def test_work_that_the_server_lost_is_not_silently_done_again(head: Head, tmp_path: object) -> None:
    """The ledger knows that it was accepted; the server does not know it any more."""
    job = new_id()
    ledger = Ledger(tmp_path / "ledger.sqlite")  # type: ignore[operator]

    async def submit() -> None:
        async with session_at(head) as session:
            session.recorder = Recorder(ledger, place_of(LocalTarget({}), head.url))
            prepared: PreparedJob = await prepare(JobRequest(JobSpec("true"), submission_id=job))
            session.recorder.record_submission(job, prepared.spec, origin_of(prepared.spec))
            session.recorder.record_status(job, "RUNNING")
            await session.submit(prepared)

    with pytest.raises(JobLost, match=f"rerun {job}"):
        asyncio.run(submit())
    entry = ledger.get(job)
    assert entry is not None
    assert entry.status == "LOST"
    assert asyncio.run(jobs_with(head, job)) == []


def test_work_that_a_starting_head_does_not_know_yet_is_looked_for_again(
    head: Head, proxy: Proxy, tmp_path: Path
) -> None:
    """A head that restarts answers before it has read its store."""
    job, ledger = new_id(), Ledger(tmp_path / "ledger.sqlite")

    async def submit(url: str) -> Submission:
        async with session_at(head, url) as session:
            session.recorder = Recorder(ledger, place_of(LocalTarget({}), head.url))
            prepared = await prepare(JobRequest(JobSpec("sleep 20"), submission_id=job))
            return await session.submit(prepared)

    assert not asyncio.run(submit(head.url)).attached
    not_yet = answer(404, f"Job {job} does not exist", "text/plain")
    decide = times(2, lambda line: line == f"GET /api/jobs/{job}")
    proxy.faults.instead = lambda line: not_yet if decide(line) else None
    assert asyncio.run(submit(proxy.url)).attached
    entry = ledger.get(job)
    assert entry is not None
    assert entry.status in ("PENDING", "RUNNING")


def test_attaching_to_a_job_that_has_ended_records_how_it_ended(head: Head, tmp_path: Path) -> None:
    job, ledger = new_id(), Ledger(tmp_path / "ledger.sqlite")

    async def submit_twice() -> None:
        prepared = await prepare(JobRequest(JobSpec("exit 3"), submission_id=job))
        async with session_at(head) as session:
            await session.submit(prepared)
            await session.wait([job])
            session.recorder = Recorder(ledger, place_of(LocalTarget({}), head.url))
            assert (await session.submit(prepared)).attached

    asyncio.run(submit_twice())
    entry = ledger.get(job)
    assert entry is not None
    assert (entry.status, entry.driver_exit_code) == ("FAILED", 3)


def test_an_upload_survives_lost_requests_and_answers(head: Head, proxy: Proxy, tmp_path: object) -> None:
    directory = tmp_path / "work"  # type: ignore[operator]
    directory.mkdir()
    (directory / "data").write_bytes(new_id().encode() * 50_000)
    uploads = times(1, lambda line: line.startswith("PUT "))
    more = times(1, lambda line: line.startswith("PUT "))
    proxy.faults = Faults(drop_request=uploads, drop_answer=more)

    async def submit() -> Submission:
        async with session_at(head, proxy.url) as session:
            return await session.submit(await prepare(JobRequest(JobSpec("true", {"working_dir": str(directory)}))))

    assert not asyncio.run(submit()).attached
    assert sum(line.startswith("PUT ") for line in proxy.requests) == 2


def test_every_error_is_one_of_ours(head: Head, proxy: Proxy) -> None:
    for body in (answer(401, "no"), answer(403, "no"), answer(404, "no"), answer(413, "no"), answer(400, "no")):
        proxy.faults = Faults(instead=lambda _line, body=body: body)  # type: ignore[misc]
        with pytest.raises(JobsError):
            asyncio.run(submit_through(head, proxy, new_id()))


def test_waiting_for_an_agent_ends_and_says_that_nothing_was_submitted(head: Head, proxy: Proxy) -> None:
    no_agent = answer(
        500, "Traceback ...\nException: No available agent to submit job, please try again later.", "text/plain"
    )
    proxy.faults = Faults(instead=lambda line: no_agent if submissions(line) else None)

    async def submit() -> None:
        async with session_at(head, proxy.url) as session:
            await submit_once(session.client, JobSpec("true"), new_id(), deadline=Deadline(2))

    with pytest.raises(DeadlinePassed, match="the job was not submitted"):
        asyncio.run(submit())


def test_answers_that_are_late_fifty_times_over_make_one_job_each(head: Head, proxy: Proxy) -> None:
    ids = [new_id() for _ in range(50)]
    proxy.faults = Faults(delay_answer=lambda line: 2.0 if submissions(line) else 0.0)

    async def submit_all() -> None:
        async with session_at(head, proxy.url) as session:
            # Resources that nobody has: the jobs stay PENDING, no process is started for them.
            spec = JobSpec("true", entrypoint_num_gpus=1000)
            await asyncio.gather(*(submit_once(session.client, spec, job, seconds=0.5) for job in ids))
            await asyncio.gather(*(session.client.stop_job(job) for job in ids))

    asyncio.run(submit_all())
    assert sorted(job.submission_id for job in asyncio.run(jobs_with(head, *ids))) == sorted(ids)


def test_a_server_that_pauses_during_a_submission_makes_one_job(head: Head, proxy: Proxy) -> None:
    job = new_id()

    async def submit() -> Submission:
        async with session_at(head, proxy.url) as session:
            proxy.faults = Faults(paused=True)
            going = asyncio.create_task(submit_once(session.client, JobSpec("true"), job, deadline=Deadline(60)))
            await asyncio.sleep(10)
            proxy.heal()
            return await going

    assert asyncio.run(submit()).submission_id == job
    assert len(asyncio.run(jobs_with(head, job))) == 1


def test_an_upload_that_is_cut_in_its_middle_arrives_whole(head: Head, proxy: Proxy, tmp_path: Path) -> None:
    (tmp_path / "noise").write_bytes(random.Random(new_id()).randbytes(20_000_000))
    (tmp_path / "sum.py").write_text("import hashlib; print(hashlib.sha256(open('noise', 'rb').read()).hexdigest())")
    proxy.faults = Faults(cut_every=0.01)

    async def run() -> bytes:
        got = bytearray()
        async with session_at(head, proxy.url) as session:
            going = asyncio.create_task(
                session.submit(
                    await prepare(JobRequest(JobSpec("python sum.py", {"working_dir": str(tmp_path)}))), seconds=60
                )
            )
            while proxy.cuts == 0 or not any(line.startswith("PUT") for line in proxy.requests):
                await asyncio.sleep(0.1)
            await asyncio.sleep(1)
            proxy.heal()
            await session.run_to_end((await going).submission_id, got.extend)
        return bytes(got)

    digest = hashlib.sha256((tmp_path / "noise").read_bytes()).hexdigest()
    assert digest in asyncio.run(run()).decode()


async def _remains(session: Session, job: str) -> bool:
    """Whether Ray has written its record without content over the deleted one."""
    return (await session.client.http.once("GET", f"/api/jobs/{job}")).status_code == 200


async def _end(session: Session, job: str) -> None:
    await submit_once(session.client, JobSpec("true"), job)
    await session.watcher.wait([job], deadline=Deadline(60))


def test_what_ray_leaves_of_a_deleted_job_does_not_hold_its_id(head: Head) -> None:
    async def run() -> tuple[bool, str, str | None]:
        async with session_at(head) as session:
            while True:
                job = new_id()
                await _end(session, job)
                await session.client.http.once("DELETE", f"/api/jobs/{job}")
                for _ in range(30):
                    await asyncio.sleep(0.1)
                    if await _remains(session, job):
                        done = await submit_once(session.client, JobSpec("echo again"), job, deadline=Deadline(60))
                        info = (await session.watcher.wait([job], deadline=Deadline(60)))[job]
                        assert info is not None
                        return done.attached, info.status, info.entrypoint

    assert asyncio.run(asyncio.wait_for(run(), 120)) == (False, "SUCCEEDED", "echo again")


def test_a_deleted_job_leaves_nothing_behind(head: Head) -> None:
    async def run() -> list[bool]:
        async with session_at(head) as session:
            ids = [new_id() for _ in range(5)]
            await asyncio.gather(*(_end(session, job) for job in ids))
            await asyncio.gather(*(session.delete(job) for job in ids))
            await asyncio.sleep(3)
            return [await _remains(session, job) for job in ids]

    assert asyncio.run(run()) == [False] * 5
