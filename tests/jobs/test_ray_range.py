"""Servers from the oldest to the newest Ray: docs/jobs-target.md says which.

Each Ray has a virtual environment of its own in the user's cache. It is kept, so only the first run installs.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

from jobs import local_ray as local
from jobs.dashboard.submission import submit_once
from jobs.spec.job_info import Result
from jobs.spec.job_spec import JobSpec
from single_node.cache import cache_root, locked
from tests.jobs.conftest import Head, new_id, output_of, session_at, short_directory, start_head
from tests.support.command import Cli

pytestmark = pytest.mark.skipif(not os.environ.get("RAY_E2E_LONG"), reason="takes long: asked for with RAY_E2E_LONG=1")

# What pip installs. Ray 2.9 does not work with protobuf 5, and does not say so. The log API of 2.40 is between those of
# the other two. The third is the newest that the package index has.
OLDEST, OLD_LOGS, NEWEST = ("ray[default]==2.9.0", "protobuf<5"), ("ray[default]==2.40.0",), ("ray[default]",)


def python_with(*requirements: str) -> str:
    """The Python of a virtual environment with these packages. The test is left out if pip does not find them."""
    name = requirements[0].replace("ray[default]", "ray").replace("==", "-")
    folder = cache_root() / "ray" / f"{name}-py{sys.version_info[0]}.{sys.version_info[1]}"
    python = folder / "bin" / "python"
    with locked(folder.with_name(f"{folder.name}.lock")):
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        install = [
            str(python),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--upgrade",
            *requirements,
        ]
        done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"pip has no {requirements[0]} here: {done.stderr.strip().splitlines()[-1]}")
    return str(python)


@pytest.fixture(scope="module", params=[OLDEST, OLD_LOGS, NEWEST], ids=["2.9.0", "2.40.0", "newest"])
def head(request: pytest.FixtureRequest) -> Iterator[Head]:
    base = short_directory()
    running = start_head(base, python=python_with(*request.param))
    yield running
    local.end(running.pid)
    shutil.rmtree(base, ignore_errors=True)


def test_the_check_says_which_ray_answers(cli: Cli, request: pytest.FixtureRequest) -> None:
    done = cli("check")
    assert done.returncode == 0, done.stdout
    expected = request.node.callspec.params["head"][0].partition("==")[2]
    assert f"The Jobs API answers (Ray {expected}" in done.stdout.decode()


def test_a_job_runs_once_in_its_directory_and_its_log_is_complete(cli: Cli, head: Head) -> None:
    (cli.cwd / "script.py").write_text("print(open('größe.txt').read())")
    (cli.cwd / "größe.txt").write_text("from the directory")
    words = ("--submission-id", (job := new_id()), "--working-dir", ".", "--", "python", "script.py")
    done = cli("submit", *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (head.log_dir / f"job-driver-{job}.log").read_bytes()
    assert output_of(done.stdout) == b"from the directory\n"
    again = cli("submit", *words)
    assert (again.returncode, again.stdout) == (0, done.stdout)
    assert b"attached" in again.stderr


def test_a_log_comes_from_the_dashboard_without_marks(head: Head) -> None:
    """From outside only the dashboard is reached, not the agent."""
    got, job = bytearray(), new_id()

    async def follow() -> Result:
        async with session_at(head) as session:
            await submit_once(session.client, JobSpec("for i in 1 2 3; do seq 20000; sleep 1; done"), job)
            return await session.run_to_end(job, got.extend)

    assert asyncio.run(follow()).status == "SUCCEEDED"
    assert bytes(got) == (head.log_dir / f"job-driver-{job}.log").read_bytes()


def test_a_failed_job_ends_with_1_and_its_reason(cli: Cli) -> None:
    job = new_id()
    failed = cli("submit", "--submission-id", job, "--", "python", "-c", "print('begun'); raise ValueError('bad lr')")
    assert failed.returncode == 1
    assert b"Its program failed: ValueError: bad lr" in failed.stderr
    assert json.loads(cli("status", job, "--output", "json").stdout)["driver_exit_code"] == 1
    assert b"Its program failed: ValueError: bad lr" in cli("why", job).stdout


def test_a_job_is_listed_stopped_and_deleted(cli: Cli) -> None:
    job = new_id()
    words = ("--metadata-json", '{"team": "search"}', "--runtime-env-json", '{"env_vars": {"A": "ü $b"}}')
    cli("submit", "--no-wait", "--submission-id", job, *words, "--", 'echo "$A"; sleep 600')
    listed = json.loads(cli("list", "--metadata", "team=search", "--output", "json").stdout)
    assert [each["submission_id"] for each in listed] == [job]
    while b"$b" not in cli("logs", job).stdout:
        assert json.loads(cli("status", job, "--output", "json").stdout)["status"] in ("PENDING", "RUNNING")
    assert cli("delete", job).returncode == 2
    assert cli("stop", job).returncode == 0
    assert cli("wait", job).returncode == 3
    assert output_of(cli("logs", job).stdout) == "ü $b\n".encode()
    assert cli("delete", job).returncode == 0
    assert cli("status", job).returncode == 2


def test_a_job_that_no_node_can_take_is_explained(cli: Cli) -> None:
    job = new_id()
    cli("submit", "--no-wait", "--submission-id", job, "--entrypoint-num-cpus", "64", "--", "true")
    assert b"64 CPU (the largest node has 4)" in cli("why", job).stdout
    assert cli("wait", "--timeout", "1", job).returncode == 5
