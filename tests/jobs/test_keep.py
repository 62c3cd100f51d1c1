"""The keeper of a real Ray: every job, its whole log, and what happened to the head."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobs import local_ray as local
from jobs.keeper.watch import REPLACED
from jobs.ledger.git import Commit
from jobs.ledger.kept import KeptJobs
from tests.jobs.conftest import Head, new_id, short_directory, start_head
from tests.support.command import Cli
from tests.support.keeper_loop import until
from tests.support.keeper_process import keep
from tests.support.proxy import Faults, Proxy

# Text, a progress bar, colours, and bytes that are not UTF-8, for some seconds.
LOGS_MUCH = """
import sys, time
for i in range(40):
    sys.stdout.buffer.write(b"line %d \\x1b[31mred\\x1b[0m\\r50%%\\r100%%\\n" % i + bytes(range(256)) * 100)
    sys.stdout.buffer.flush()
    time.sleep(0.2)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "kept"


def is_complete(folder: Path, job: str) -> bool:
    extent = KeptJobs(folder).log_extent(job)
    return extent is not None and extent.complete


def sha256_of_kept(folder: Path, job: str) -> str:
    return hashlib.sha256(b"".join(KeptJobs(folder).read_log(job))).hexdigest()


def sha256_of_file(head: Head, job: str) -> str:
    return hashlib.sha256((head.log_dir / f"job-driver-{job}.log").read_bytes()).hexdigest()


def submit_with_stock_client(head: Head, job: str, entrypoint: str) -> None:
    code = (
        "import sys; from ray.job_submission import JobSubmissionClient\n"
        "client = JobSubmissionClient(sys.argv[1], headers={'Authorization': 'Bearer ' + sys.argv[2]})\n"
        "client.submit_job(entrypoint=sys.argv[4], submission_id=sys.argv[3], metadata={'name': 'stock'})\n"
    )
    subprocess.run([sys.executable, "-c", code, head.url, head.token, job, entrypoint], check=True, timeout=120)


def commit(folder: Path) -> str:
    """Commits all files of a folder. Returns the id of the commit."""
    git = ("git", "-c", "user.name=t", "-c", "user.email=t@example.com", "-C", str(folder))
    for words in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "x")):
        subprocess.run([*git, *words], check=True)
    return subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()


def test_jobs_of_every_client_are_kept_with_their_whole_logs(cli: Cli, head: Head, folder: Path) -> None:
    (cli.cwd / "s.py").write_text(LOGS_MUCH)
    sha = commit(cli.cwd)
    ours, stock = new_id(), new_id()
    with keep(cli, head.url, folder) as keeper:
        until(lambda: keeper.url)
        assert cli("submit", "--submission-id", ours, "--working-dir", ".", "--", "python s.py").returncode == 0
        submit_with_stock_client(head, stock, "echo of the stock client")
        until(lambda: is_complete(folder, ours) and is_complete(folder, stock))
        assert keeper.get("/healthz")[0] == 200
        assert keeper.end() == 0
    for job in (ours, stock):
        assert sha256_of_kept(folder, job) == sha256_of_file(head, job)
    kept = KeptJobs(folder)
    entry = kept.job(ours)
    assert entry is not None
    assert (entry.status, entry.driver_exit_code, bool(entry.user)) == ("SUCCEEDED", 0, True)
    assert [status for status, _ in entry.changes][-1] == "SUCCEEDED"
    assert (entry.origin.commit, entry.origin.package_bytes) == (Commit(sha, False), len(LOGS_MUCH))
    assert [each.submission_id for each in kept.jobs(name="stock").entries] == [stock]


def test_a_keeper_that_is_killed_keeps_every_byte_of_jobs_that_log_meanwhile(
    cli: Cli, head: Head, folder: Path
) -> None:
    (cli.cwd / "s.py").write_text(LOGS_MUCH)
    jobs = [new_id() for _ in range(4)]
    for job in jobs:
        words = ("--no-wait", "--submission-id", job, "--working-dir", ".", "--entrypoint-num-cpus", "0.1")
        assert cli("submit", *words, "--", "python s.py").returncode == 0
    for _ in range(4):
        with keep(cli, head.url, folder) as keeper:
            until(lambda keeper=keeper: keeper.url)
            time.sleep(1.5)
            keeper.process.kill()
    with keep(cli, head.url, folder):
        until(lambda: all(is_complete(folder, job) for job in jobs), 120)
    assert [sha256_of_kept(folder, job) for job in jobs] == [sha256_of_file(head, job) for job in jobs]


# Logs for some seconds: text, colours, and bytes of every kind.
LOGS_AT_RANDOM = r"""
import random, sys, time
source, out = random.Random(sys.argv[1]), sys.stdout.buffer
for _ in range(30):
    out.write(b"\x1b[32mstep %d\x1b[0m\r\n" % source.randrange(10**6) + source.randbytes(source.randrange(2000)))
    out.flush()
    time.sleep(source.random())
out.write(b"end")
"""
# 40 of them run at a time on the 2 CPUs of the head; Ray needs about a second of a core to start one.
SUBMIT_MANY = """
import sys
from ray.job_submission import JobSubmissionClient
address, token, program, *jobs = sys.argv[1:]
client = JobSubmissionClient(address, headers={"Authorization": "Bearer " + token})
for job in jobs:
    client.submit_job(entrypoint=f"python {program} {job}", submission_id=job, entrypoint_num_cpus=0.05)
"""


@pytest.mark.skipif(not os.environ.get("RAY_E2E_LONG"), reason="takes long: asked for with RAY_E2E_LONG=1")
@pytest.mark.timeout(1200)
def test_a_keeper_that_is_killed_20_times_keeps_every_byte_of_200_jobs_of_the_stock_client(
    cli: Cli, head: Head, folder: Path, tmp_path: Path
) -> None:
    program, source, kept = tmp_path / "logs.py", random.Random(16), KeptJobs(folder)
    program.write_text(LOGS_AT_RANDOM)
    jobs = [new_id() for _ in range(200)]
    with subprocess.Popen([sys.executable, "-c", SUBMIT_MANY, head.url, head.token, str(program), *jobs]) as submitting:
        for _ in range(20):
            with keep(cli, head.url, folder) as keeper:
                time.sleep(1 + source.random() * 14)
                keeper.process.kill()
        assert submitting.wait(300) == 0
    ended = sum(1 for job in jobs if (entry := kept.job(job)) and entry.ended)
    assert ended < 200  # It was killed while jobs logged.
    with keep(cli, head.url, folder):
        until(lambda: all(is_complete(folder, job) for job in jobs), 600)
    assert [sha256_of_kept(folder, job) for job in jobs] == [sha256_of_file(head, job) for job in jobs]
    ends = {job: entry.status if (entry := kept.job(job)) else None for job in jobs}
    assert {job: end for job, end in ends.items() if end != "SUCCEEDED"} == {}


def test_connections_that_break_lose_no_byte(cli: Cli, head: Head, proxy: Proxy, folder: Path) -> None:
    (cli.cwd / "s.py").write_text(LOGS_MUCH)
    job, requests = new_id(), [0]

    def every_third(_line: str) -> bool:
        requests[0] += 1
        return requests[0] % 3 == 0

    with keep(cli, proxy.url, folder) as keeper:
        until(lambda: keeper.url)
        proxy.faults = Faults(drop_request=every_third)
        assert cli("submit", "--submission-id", job, "--working-dir", ".", "--", "python s.py").returncode == 0
        until(lambda: is_complete(folder, job), 120)
    assert sha256_of_kept(folder, job) == sha256_of_file(head, job)


def test_why_a_job_failed_is_kept(cli: Cli, head: Head, folder: Path) -> None:
    job = new_id()
    with keep(cli, head.url, folder) as keeper:
        until(lambda: keeper.url)
        cli("submit", "--submission-id", job, "--", "python -c 'raise ValueError(\"three columns\")'")
        until(lambda: (entry := KeptJobs(folder).job(job)) and entry.why)
    entry = KeptJobs(folder).job(job)
    assert entry is not None
    assert entry.why is not None
    assert any("three columns" in finding["text"] for finding in entry.why["findings"])
    assert (entry.status, entry.driver_exit_code) == ("FAILED", 1)


def test_when_the_head_is_replaced_the_job_is_lost_and_its_log_stays(cli: Cli, folder: Path) -> None:
    pytest.importorskip("ray")
    base = short_directory()
    first = start_head(base)
    second: Head | None = None
    try:
        environ = {**cli.environ, "RAY_AUTH_TOKEN_PATH": str(first.token_file)}
        mine = dataclasses.replace(cli, address=first.url, environ=environ)
        job = new_id()
        with keep(mine, first.url, folder) as keeper:
            until(lambda: keeper.url)
            assert mine("submit", "--no-wait", "--submission-id", job, "--", "echo begun; sleep 600").returncode == 0
            until(lambda: b"begun\n" in b"".join(KeptJobs(folder).read_log(job)))
            local.end(first.pid)
            second = start_head(base, first.ports)
            until(lambda: (entry := KeptJobs(folder).job(job)) and entry.status == "LOST", 120)
            until(lambda: keeper.get("/healthz")[0] == 200)
        kept = KeptJobs(folder)
        entry = kept.job(job)
        assert entry is not None
        assert entry.message == REPLACED
        assert [event.kind for event in kept.events()].count("head_replaced") == 1
        assert b"begun\n" in b"".join(kept.read_log(job))
    finally:
        if second is not None:
            local.end(second.pid)
        shutil.rmtree(base, ignore_errors=True)
