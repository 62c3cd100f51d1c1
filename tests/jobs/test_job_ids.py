"""Ray's job id, which its dashboard and `ray list jobs` show, names a job wherever its submission id does."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.jobs.conftest import Head, new_id
from tests.support.command import Cli

DRIVER = """
import os, ray, time
ray.init(logging_level="ERROR")
print("driver", ray.get_runtime_context().get_job_id(), os.getpid(), flush=True)
time.sleep(600)
"""


def submitted(cli: Cli, entrypoint: str) -> tuple[str, str]:
    """A job that runs, or has run: its submission id and Ray's job id."""
    submission_id = new_id()
    script = f"import ray, sys; ray.init(logging_level='ERROR'); print('byte-true\\r', flush=True); {entrypoint}"
    done = cli("submit", "--no-wait", "--submission-id", submission_id, "--", "python", "-c", script)
    assert done.returncode == 0, done.stderr
    for _ in range(100):
        job_id = json.loads(cli("status", submission_id, "--output", "json").stdout)["job_id"]
        if job_id is not None:
            return submission_id, job_id
    pytest.fail(f"{submission_id} got no job id")


@pytest.fixture
def ended(cli: Cli) -> tuple[str, str]:
    submission_id, job_id = submitted(cli, "")
    assert cli("wait", submission_id).returncode == 0
    return submission_id, job_id


def test_the_commands_take_a_job_id(cli: Cli, ended: tuple[str, str]) -> None:
    submission_id, job_id = ended
    log = cli("logs", submission_id).stdout
    assert b"byte-true\r" in log
    for words in ((), ("--follow",)):
        done = cli("logs", *words, job_id, timeout=60)
        assert (done.returncode, done.stdout) == (0, log), done.stderr
    for command in (["status", job_id], ["status", job_id, submission_id], ["wait", job_id], ["wait", job_id, job_id]):
        done = cli(*command, "--output", "json", timeout=60)
        assert done.returncode == 0, done.stderr
        records = json.loads(done.stdout)
        records = records if isinstance(records, list) else [records]
        assert [record["submission_id"] for record in records] == [submission_id] * (len(command) - 1)
    done = cli("why", job_id, "--output", "json")
    assert json.loads(done.stdout)["submission_id"] == submission_id
    assert cli("stop", job_id).returncode == 0


def test_a_running_job_is_stopped_by_its_job_id_and_deleted_by_it(cli: Cli) -> None:
    submission_id, job_id = submitted(cli, "import time; time.sleep(600)")
    refused = cli("delete", job_id)
    assert (refused.returncode, b"only a job that has ended" in refused.stderr) == (2, True)
    done = cli("stop", job_id, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(cli("status", job_id, "--output", "json").stdout)["status"] == "STOPPED"
    assert cli("delete", job_id).returncode == 0
    assert cli("status", submission_id).returncode == 2
    entry = json.loads(cli.raw("history", submission_id, "--output", "json").stdout)
    assert entry["status"] == "DELETED"


def test_a_job_id_leads_to_the_local_job_history(cli: Cli, ended: tuple[str, str]) -> None:
    submission_id, job_id = ended
    again = cli("rerun", job_id, "--no-wait")
    assert (again.returncode, again.stdout.decode().strip()) == (0, f"{submission_id}-r1"), again.stderr
    only_here = cli.raw("history", job_id)
    assert only_here.returncode == 2
    assert f"status {job_id}".encode() in only_here.stderr


def test_the_python_api_takes_a_job_id(head: Head, cli: Cli, ended: tuple[str, str], tmp_path: Path) -> None:
    from jobs import connect

    submission_id, job_id = ended
    with connect(head.url, token_file=head.token_file, ledger=tmp_path / "ledger") as client:
        job = client.job(job_id)
        assert job.info.submission_id == submission_id
        assert job.wait(timeout=60).submission_id == submission_id
        assert b"byte-true\r" in b"".join(job.logs())
        assert b"byte-true\r" in b"".join(job.logs(follow=True))
        assert job.stop().submission_id == submission_id
        job.delete()
        assert submission_id not in {each.submission_id for each in client.list()}


def test_an_id_that_nobody_has_is_refused_at_once(cli: Cli) -> None:
    for command in ("status", "logs", "wait", "stop", "delete", "rerun"):
        done = cli(command, "ffffff7f", timeout=30)
        assert (command, done.returncode, done.stdout) == (command, 2, b"")
        assert b"no job 'ffffff7f'" in done.stderr


def test_a_submission_id_in_the_form_of_a_job_id_is_refused(cli: Cli) -> None:
    """Ray would answer about the job with this job id. A date is no such id."""
    refused = cli("submit", "--submission-id", "03000000", "--", "true")
    assert (refused.returncode, b"Ray's job ids" in refused.stderr) == (2, True)
    assert cli("submit", "--submission-id", "20261123", "--", "true").returncode == 0
    assert cli("logs", "--follow", "20261123").returncode == 0


@dataclass
class Driver:
    """A program that calls `ray.init` itself, and the submission in which it runs here, unknown to Ray."""

    job_id: str
    pid: str
    submission_id: str


@pytest.fixture
def driver(cli: Cli) -> Driver:
    (cli.cwd / "driver.py").write_text(DRIVER)
    submission_id = new_id()
    # Without this variable, Ray does not know that the program belongs to a submission.
    entrypoint = "env -u RAY_JOB_CONFIG_JSON_ENV_VAR python driver.py"
    cli("submit", "--no-wait", "--submission-id", submission_id, "--working-dir", ".", "--", entrypoint)
    for _ in range(60):
        if match := re.search(rb"driver (\w+) (\d+)", cli("logs", submission_id).stdout):
            return Driver(match[1].decode(), match[2].decode(), submission_id)
    pytest.fail("the driver did not connect")


def test_a_driver_that_was_not_submitted_is_named_as_one(cli: Cli, driver: Driver) -> None:
    process = f"process {driver.pid} on node".encode()
    status = cli("status", driver.job_id)
    assert (status.returncode, b"RUNNING" in status.stdout) == (0, True)
    for command in (["logs"], ["logs", "--follow"], ["stop"], ["stop", "--no-wait"], ["delete"], ["rerun"]):
        done = cli(*command, driver.job_id, timeout=30)
        assert (command, done.returncode, done.stdout) == (command, 2, b"")
        assert b"is a driver" in done.stderr
        assert process in done.stderr
    why = cli("why", driver.job_id)
    assert (why.returncode, b"is a driver" in why.stdout) == (0, True)
    cli("stop", driver.submission_id)
    waited = cli("wait", driver.job_id, timeout=60)
    assert waited.returncode == 0
    assert b"also if it failed" in waited.stderr
