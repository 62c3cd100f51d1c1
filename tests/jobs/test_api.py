"""The Python API: the same promises, for scripts and for programs with an event loop."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from jobs import connect, connect_async
from jobs.errors import DeadlinePassed, JobFailed, UnknownJob
from tests.jobs.conftest import Head, output_of


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
            ids = await asyncio.gather(*(client.submit(f"exit {code}") for code in (0, 1, 0)))
            return [(await client.wait(each, timeout=60)).status for each in ids]

    assert asyncio.run(main()) == ["SUCCEEDED", "FAILED", "SUCCEEDED"]


def test_leaving_a_log_halfway_leaves_the_client_usable(head: Head, tmp_path: Path) -> None:
    with connect(head.url, token_file=head.token_file, ledger=tmp_path / "ledger") as client:
        job = client.submit("echo begun; sleep 600")
        for chunk in job.logs(follow=True):
            if b"begun\n" in chunk:
                break
        assert job.status == "RUNNING"
        job.stop()
