"""How a job ended, in one line: after which time, and of a failure why and what to do next."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from jobs.cli.output import end_text
from jobs.diagnose.ending import failure_reason
from jobs.errors import COMMAND
from jobs.spec.job_info import LOST, JobInfo, Result
from tests.support.command import Cli
from tests.support.proxy import Faults, Proxy, answer

JOB: dict[str, Any] = {
    "submission_id": "j",
    "status": "SUCCEEDED",
    "type": "SUBMISSION",
    "entrypoint": "true",
    "start_time": 1_000,
    "end_time": 201_000,
    "driver_node_id": "n",
}
FAILED = {
    **JOB,
    "status": "FAILED",
    "driver_exit_code": 1,
    "message": "Job entrypoint command failed with exit code 1, last available logs:\nTraceback:\nValueError: bad lr",
}

# Ray's message has the last ten lines only, and the exception is above them.
FAR = {**FAILED, "message": "last available logs:\nRefer to the documentation."}
FAR_LOG = b"Traceback (most recent call last):\nValueError: bad lr\n" + 40 * b"advice\n"
LOG = b"the log\nof the job\n"


def lines_of(stderr: bytes) -> list[str]:
    """The lines without those that a slow machine has while it waits."""
    return [line for line in stderr.decode().splitlines() if not line.startswith("Waiting for ")]


@contextmanager
def stand_in(*jobs: dict[str, Any], log: bytes = LOG) -> Iterator[str]:
    def body(line: str) -> bytes:
        path = line.split()[1]
        if path.startswith("/api/v0/logs/"):
            return answer(200, log, "text/plain")
        return answer(200, json.dumps(list(jobs) if path == "/api/jobs/" else jobs[0]))

    with Proxy("127.0.0.1", 9) as running:
        running.faults = Faults(instead=body)
        yield running.url


@pytest.mark.parametrize("words", [("wait", "j"), ("logs", "--follow", "j")])
def test_success_is_one_line_with_the_time(bare_cli: Cli, words: tuple[str, ...]) -> None:
    with stand_in(JOB) as url:
        done = bare_cli(*words, address=url)
    assert done.returncode == 0
    assert done.stdout == (LOG if "logs" in words else b"")
    assert lines_of(done.stderr) == ["Job j SUCCEEDED after 3 min 20 s."]


@pytest.mark.parametrize("words", [("wait", "j"), ("wait", "j", "--quiet"), ("logs", "--follow", "j")])
@pytest.mark.parametrize(("job", "log"), [(FAILED, b""), (FAR, FAR_LOG)])
def test_a_failure_names_the_reason_and_the_next_command(
    bare_cli: Cli, words: tuple[str, ...], job: dict[str, Any], log: bytes
) -> None:
    with stand_in(job, log=log) as url:
        done = bare_cli(*words, address=url)
    assert done.returncode == 1
    (line,) = lines_of(done.stderr)
    assert line.startswith("Job j FAILED after 3 min 20 s, exit code 1. ")
    assert "ValueError: bad lr. " in line
    assert line.endswith(f"Next: `python -m jobs why j --address {url}`")


def test_json_is_as_before_and_the_line_is_on_stderr(bare_cli: Cli) -> None:
    with stand_in(FAILED) as url:
        done = bare_cli("wait", "j", "--output", "json", address=url)
    record = json.loads(done.stdout)
    assert (record["status"], record["exit_code"], record["message"]) == ("FAILED", 1, FAILED["message"])
    assert lines_of(done.stderr)[0].startswith("Job j FAILED")


def test_each_of_several_jobs_has_its_line(bare_cli: Cli) -> None:
    with stand_in(FAILED, {**JOB, "submission_id": "k", "status": "STOPPED"}) as url:
        done = bare_cli("wait", "j", "k", address=url)
    assert done.returncode == 1
    first, second = sorted(lines_of(done.stderr))
    assert first.startswith("Job j FAILED")
    assert second == "Job k STOPPED after 3 min 20 s."


def test_a_lost_job_is_to_be_submitted_again() -> None:
    assert end_text(Result("j", LOST)) == (f"Job j is lost: the server no longer knows it. Next: `{COMMAND} rerun j`")


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        (JobInfo("j", "FAILED"), ""),
        (JobInfo("j", "FAILED", message="last available logs:\nRunning entrypoint for job j: exit 3"), ""),
        (JobInfo("j", "FAILED", message="x" * 1000), "..."),
        (JobInfo("j", "FAILED", error_type="JOB_SUPERVISOR_ACTOR_DIED", message="A\ndied."), "died"),
    ],
)
def test_the_reason_is_one_line_of_bounded_length(info: JobInfo, reason: str) -> None:
    text = failure_reason(info)
    assert len(text) < 310
    assert "\n" not in text
    assert (reason in text) if reason else not text


def test_a_reason_has_no_secret_and_no_control_character() -> None:
    message = "Traceback:\nValueError: https://user:hunter2hunter2@host \x1b[2J"
    text = end_text(Result("j", "FAILED", JobInfo("j", "FAILED", message=message)))
    assert "hunter2" not in text
    assert "\x1b" not in text
