"""The Python API: the same promises, for scripts and for programs with an event loop."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jobs import Client, Job, Result, connect, connect_async
from jobs.errors import DeadlinePassed, JobFailed, UnknownJob
from tests.jobs.conftest import Head, new_id, output_of
from tests.support.command import ROOT, clean_environ


def test_a_script_submits_follows_and_takes_the_result(head: Head, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "script.py").write_text("print('from the script')")
    with connect(head.url, token_file=head.token_file, ledger=tmp_path / "ledger") as client:
        job = client.submit("python script.py", working_dir=tmp_path / "work", metadata={"team": "search"})
        log = b"".join(job.logs(follow=True))
        result = job.wait(timeout=60).check()
        assert output_of(log) == b"from the script\n"
        assert (result.status, result.exit_code, job.status) == ("SUCCEEDED", 0, "SUCCEEDED")
        assert job.info.user_metadata == {"team": "search"}
        assert job.submission_id in [each.submission_id for each in client.list()]
        job.delete()
        with pytest.raises(UnknownJob):
            job.wait()


def test_errors_carry_what_to_do_next(head: Head, tmp_path: Path) -> None:
    with connect(head.url, token_file=head.token_file, ledger=tmp_path / "ledger") as client:
        failed = client.submit("exit 3")
        with pytest.raises(JobFailed, match="FAILED"):
            failed.wait(60).check()
        slow = client.submit("sleep 600")
        with pytest.raises(DeadlinePassed) as caught:
            slow.wait(timeout=0.5)
        assert f"stop {slow.submission_id}" in caught.value.remedy
        assert slow.stop().status == "STOPPED"


def test_an_event_loop_runs_many_jobs_over_one_client(head: Head, tmp_path: Path) -> None:
    async def main() -> list[str]:
        options = {"token_file": head.token_file, "ledger": tmp_path / "ledger"}
        async with connect_async(head.url, **options) as client:
            jobs = await asyncio.gather(*(client.submit(f"exit {code}") for code in (0, 1, 0)))
            results = [await jobs[0], await jobs[1].wait(timeout=60), await client.wait(jobs[2].submission_id)]
            assert [(await job.info()).status for job in jobs] == [result.status for result in results]
            return [result.status for result in results]

    assert asyncio.run(main()) == ["SUCCEEDED", "FAILED", "SUCCEEDED"]


def test_leaving_a_log_halfway_leaves_the_client_usable(head: Head, tmp_path: Path) -> None:
    with connect(head.url, token_file=head.token_file, ledger=tmp_path / "ledger") as client:
        job = client.submit("echo begun; sleep 600")
        for chunk in job.logs(follow=True):
            if b"begun\n" in chunk:
                break
        assert job.status == "RUNNING"
        job.stop()


def test_a_job_of_the_blocking_client_is_awaited_without_blocking_the_loop(head: Head, tmp_path: Path) -> None:
    async def main() -> None:
        with connect(head.url, token_file=head.token_file, ledger=tmp_path / "ledger") as client:
            first, second = client.submit("sleep 2"), client.submit("exit 1")
            assert [(await first).status, (await second).status] == ["SUCCEEDED", "FAILED"]
            waiting = asyncio.ensure_future(_wait(client.submit("sleep 600")))
            await asyncio.sleep(1)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError, match="keeps running"):
                await waiting
            assert [job.stop().status for job in map(client.job, unfinished(client))] == ["STOPPED"]

    async def _wait(job: Job) -> Result:
        return await job

    def unfinished(client: Client) -> list[str]:
        return [job.submission_id for job in client.list() if job.entrypoint == "sleep 600" and not job.ended]

    asyncio.run(main())


INTERRUPTED = """
import sys
from jobs import connect
url, token_file, name = sys.argv[1:]
received = b""
with connect(url, token_file=token_file, note=lambda text: print(text, flush=True)) as client:
    job = client.submit("echo begun; sleep 600", submission_id=name)
    try:
        WAIT
    except KeyboardInterrupt as interrupt:
        print(interrupt)
    print(f"received={len(received)}", job.status, b"begun" in received + b"".join(job.logs(offset=len(received))))
    print(job.stop().status)
"""


@pytest.mark.parametrize("wait", ["job.wait()", "for chunk in job.logs(follow=True): received += chunk"])
def test_ctrl_c_detaches_a_script_from_its_job_and_says_how_to_go_on(head: Head, tmp_path: Path, wait: str) -> None:
    name = new_id()
    script = INTERRUPTED.replace("WAIT", wait)
    words = [sys.executable, "-c", script, head.url, str(head.token_file), name]
    with subprocess.Popen(
        words, cwd=ROOT, env=clean_environ(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(f"Job {name} is RUNNING"):
                break
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, ""), out
    received = out.partition("received=")[2].split()[0]
    again = f"client.wait('{name}')" if "wait" in wait else f"client.logs('{name}', follow=True, offset={received})"
    assert f"Detached. Job {name} keeps running.\n  {again} " in out
    assert out.splitlines()[-1] == "STOPPED"
    assert f"received={received} RUNNING True" in out
