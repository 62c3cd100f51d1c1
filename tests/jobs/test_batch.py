"""Many jobs: what a file or a sweep expands to, and batches on a real Ray head."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.batch import jobs_file as batch
from jobs.batch.jobs_file import Batch
from jobs.batch.prepare import prepare_batch
from jobs.batch.run import BatchItem, BatchOptions, BatchRun
from jobs.cli.batch_view import counts
from jobs.connection import open_connection
from jobs.errors import Conflict, Refused
from jobs.ledger.recorder import Recorder, place_of
from jobs.ledger.store import Ledger
from jobs.retries import RetryPolicy
from jobs.session import Session
from jobs.target.resolve import UrlTarget
from tests.jobs.conftest import Head
from tests.support.command import ROOT, Cli
from tests.support.proxy import Faults, Proxy, answer, times


class Runs:
    """Runs batches against the head; `requests` are (method, path) in the order they were sent."""

    def __init__(self, head: Head, ledger: Path) -> None:
        self.target = UrlTarget(head.url, str(head.token_file), {}, True)
        self.identity = head.url  # also when a proxy stands before the head
        self.ledger = Ledger(ledger)
        self.requests: list[tuple[str, str]] = []

    def __call__(
        self, whole: Batch, options: BatchOptions, on_change: Callable[[BatchItem], None] = lambda _track: None
    ) -> list[BatchItem]:
        async def main() -> list[BatchItem]:
            prepared = await prepare_batch(whole)
            async with open_connection(self.target) as connection:
                http = connection.client.http
                once = http.once

                async def counted(method: str, path: str, **options: Any) -> Any:
                    self.requests.append((method, path))
                    return await once(method, path, **options)

                http.once = counted  # type: ignore[method-assign]
                recorder = Recorder(self.ledger, place_of(self.target, self.identity))
                session = Session(connection, patience=30.0, recorder=recorder)
                return await BatchRun(session, prepared, options, on_change).run()

        return asyncio.run(main())


@pytest.fixture
def runs(head: Head, tmp_path: Path) -> Runs:
    return Runs(head, tmp_path / "ledger.sqlite")


def swept(line: str, name: str, **sweeps: list[str]) -> Batch:
    return replace(batch.from_sweep([line], {}, sweeps), name=f"{name}-{time.time_ns()}")


def test_a_batch_runs_to_its_end_with_one_list_request_a_poll(runs: Runs) -> None:
    most, polls = 0, 0
    seen: dict[str, str] = {}

    def changed(track: BatchItem) -> None:
        nonlocal most
        seen[track.submission_id] = track.status
        most = max(most, sum(status in ("SUBMITTING", "PENDING", "RUNNING") for status in seen.values()))

    whole = swept("sleep 2; exit {code}", "mix", code=["0", "0x0", "1"])
    tracks = runs(whole, BatchOptions(concurrency=2), changed)
    assert [track.exit_code for track in tracks] == [0, 1, 1]
    assert counts(tracks)["done"] == 1
    assert most == 2
    polls = sum(request == ("GET", "/api/jobs/") for request in runs.requests)
    assert polls > 2
    assert len(runs.requests) == polls + len(tracks)
    assert {entry.status for entry in runs.ledger.history(batch=str(whole.name))} == {"SUCCEEDED", "FAILED"}


def test_the_end_of_every_jobs_log_is_in_the_ledger(runs: Runs) -> None:
    tracks = runs(swept("echo this is {i}", "logs", i=["1", "2", "3"]), BatchOptions())
    for track in tracks:
        tail = runs.ledger.tail(track.submission_id)
        assert tail is not None
        assert f"this is {track.job.params['i']}".encode() in tail.data.splitlines()


def test_one_package_is_uploaded_once_for_all_jobs(runs: Runs, tmp_path: Path) -> None:
    source = tmp_path / "src"
    source.mkdir()
    (source / "t.py").write_text(f"import sys; assert sys.argv[1] in '012'  # {time.time_ns()}")
    whole = batch.from_sweep(["python", "t.py", "{seed}"], {"working_dir": source}, {"seed": ["0", "1", "2"]})
    tracks = runs(whole, BatchOptions())
    assert [track.exit_code for track in tracks] == [0, 0, 0]
    assert [method for method, path in runs.requests if path.startswith("/api/packages/")] == ["GET", "PUT"]


def test_a_batch_that_is_there_is_refused_without_resume_and_attached_to_with_it(runs: Runs) -> None:
    whole = swept("echo {i}", "again", i=["1", "2"])
    runs(whole, BatchOptions())
    with pytest.raises(Refused, match="--resume continues it"):
        runs(whole, BatchOptions())
    posts = [request for request in runs.requests if request[0] == "POST"]
    more = replace(swept("echo {i}", "again", i=["1", "2", "3"]), name=whole.name)
    tracks = runs(more, BatchOptions(resume=True))
    assert [track.exit_code for track in tracks] == [0, 0, 0]
    assert len([request for request in runs.requests if request[0] == "POST"]) == len(posts) + 1


def test_resume_looks_again_for_jobs_that_a_starting_head_does_not_list_yet(runs: Runs, proxy: Proxy) -> None:
    whole = swept("sleep 8; echo {i}", "restart", i=["1", "2"])
    runs(whole, BatchOptions(wait=False))
    decide = times(2, lambda line: line == "GET /api/jobs/")
    proxy.faults.instead = lambda line: answer(200, "[]") if decide(line) else None
    runs.target = replace(runs.target, url=proxy.url)
    assert [item.exit_code for item in runs(whole, BatchOptions(resume=True))] == [0, 0]


def test_resume_with_other_content_is_refused_before_anything_is_sent(runs: Runs) -> None:
    whole = swept("echo {i}", "other", i=["1"])
    runs(whole, BatchOptions())
    changed = replace(swept("echo other {i}", "other", i=["1", "2"]), name=whole.name)
    before = len(runs.requests)
    with pytest.raises(Conflict, match="echo other 1"):
        runs(changed, BatchOptions(resume=True))
    assert runs.requests[before:] == [("GET", "/api/jobs/")]


def test_a_finished_job_that_the_server_forgot_is_taken_from_the_ledger_on_resume(runs: Runs, head: Head) -> None:
    whole = swept("echo {i}; exit {i}", "forgot", i=["0", "1"])
    tracks = runs(whole, BatchOptions())

    async def delete() -> None:
        async with open_connection(runs.target) as connection:
            for track in tracks:
                await Session(connection).delete(track.submission_id)

    asyncio.run(delete())
    posts = sum(method == "POST" for method, _ in runs.requests)
    again = runs(whole, BatchOptions(resume=True))
    assert [track.exit_code for track in again] == [0, 1]
    assert sum(method == "POST" for method, _ in runs.requests) == posts


def test_a_job_that_vanishes_from_the_server_is_lost(runs: Runs, head: Head) -> None:
    whole = swept("sleep {s}", "vanish", s=["300"])

    def vanish(track: BatchItem) -> None:
        if track.status == "RUNNING":
            subprocess.run(
                [sys.executable, "-m", "jobs", "stop", "--address", head.url, track.submission_id],
                cwd=ROOT, env={"RAY_AUTH_TOKEN_PATH": str(head.token_file), "PATH": "", "HOME": "/nonexistent"},
                check=True, capture_output=True,
            )  # fmt: skip
            subprocess.run(
                [sys.executable, "-m", "jobs", "delete", "--address", head.url, track.submission_id],
                cwd=ROOT, env={"RAY_AUTH_TOKEN_PATH": str(head.token_file), "PATH": "", "HOME": "/nonexistent"},
                check=True, capture_output=True,
            )  # fmt: skip

    tracks = runs(whole, BatchOptions(), vanish)
    assert [(track.status, track.exit_code) for track in tracks] == [("LOST", 4)]
    assert runs.ledger.history(status="LOST")[0].submission_id == tracks[0].submission_id


def test_a_chosen_exit_code_is_tried_again_under_ids_of_its_own(runs: Runs, tmp_path: Path) -> None:
    marker = tmp_path / "tries"
    whole = swept(f"echo x >> {marker}; test $(wc -l < {marker}) -ge {{n}} || exit 75", "retry", n=["3"])
    tracks = runs(whole, BatchOptions(policy=RetryPolicy(5, frozenset({75}))))
    base = tracks[0].base
    assert (tracks[0].exit_code, tracks[0].submission_id) == (0, f"{base}-r2")
    attempts = [(entry.submission_id, entry.origin.attempt_of, entry.status) for entry in runs.ledger.attempts(base)]
    assert attempts == [
        (base, None, "FAILED"),
        (f"{base}-r1", base, "FAILED"),
        (f"{base}-r2", base, "SUCCEEDED"),
    ]


def test_the_jobs_own_failure_is_not_tried_again_by_default(runs: Runs) -> None:
    tracks = runs(swept("exit {code}", "fail", code=["75"]), BatchOptions(policy=RetryPolicy(5)))
    assert [(track.exit_code, track.attempt) for track in tracks] == [(1, 0)]


def test_a_job_over_its_time_is_stopped_and_the_others_go_on(runs: Runs) -> None:
    tracks = runs(swept("sleep {s}", "slow", s=["300", "1"]), BatchOptions(run_seconds=4))
    assert [(track.status, track.exit_code) for track in tracks] == [("STOPPED", 5), ("SUCCEEDED", 0)]


def test_a_client_that_was_killed_continues_with_resume_and_no_job_runs_twice(cli: Cli, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    words = [
        "submit", "--sweep", "i=0..5", "--batch", f"killed-{time.time_ns()}", "--concurrency", "2",
        "--output", "json",
    ]  # fmt: skip
    entry = ["--", "sh", "-c", f"echo {{i}} >> {marker}; sleep 2"]
    process = cli.start(*words, *entry)
    deadline = time.monotonic() + 90
    while not marker.exists() or len(marker.read_text().split()) < 3:
        assert time.monotonic() < deadline, process.communicate()
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = cli(*words, "--resume", *entry)
    assert done.returncode == 0, done.stderr
    assert sorted(marker.read_text().split()) == ["0", "1", "2", "3", "4", "5"]
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[-1]["event"] == "end"
    assert events[-1]["counts"]["done"] == 6


def test_ctrl_c_leaves_the_jobs_running_and_says_how_to_continue(cli: Cli) -> None:
    name = f"ctrlc-{time.time_ns()}"
    process = cli.start("submit", "--sweep", "i=0..1", "--batch", name, "--", "sleep", "8{i}")
    assert process.stderr is not None
    while b"RUNNING" not in (line := process.stderr.readline()):
        assert line, "it ended"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"--resume --batch {name}".encode() in said
    listed = json.loads(cli("list", "--output", "json").stdout)
    mine = [job["submission_id"] for job in listed if job["submission_id"].startswith(name)]
    assert mine
    cli("stop", *mine)


def test_submit_file_runs_the_jobs_of_a_file_and_exits_by_the_worst(cli: Cli) -> None:
    name = f"file-{time.time_ns()}"
    (cli.cwd / "jobs.yaml").write_text(
        f"name: {name}\njobs:\n  - {{name: good, entrypoint: 'true'}}\n  - {{name: bad, entrypoint: exit 3}}\n"
    )
    done = cli("submit", "--file", "jobs.yaml")
    assert done.returncode == 1, done.stderr
    assert re.search(rf"\n  Job {name}-bad FAILED after \d+ s, exit code 3\. Next: ", done.stderr.decode())
    assert done.stdout == b""


def test_a_person_at_a_terminal_sees_one_table_with_counts(cli: Cli) -> None:
    import os
    import pty

    leader, follower = pty.openpty()
    command = cli.command(
        "submit", "--sweep", "i=0..1", "--batch", f"table-{time.time_ns()}", "--", "sh", "-c", "exit {i}"
    )
    environ = {**cli.environ, "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen(command, cwd=cli.cwd, env=environ, stderr=follower, stdout=subprocess.PIPE)
    os.close(follower)
    shown = b""
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:
            break
        shown += piece
    assert process.wait() == 1
    assert process.communicate()[0] == b""
    assert b"1 done, 1 failed" in shown
    assert b"JOB_ENTRYPOINT_COMMAND_ERROR" in shown


def test_ctrl_c_that_is_to_stop_the_jobs_exits_with_130_also_when_a_stop_fails(cli: Cli, proxy: Proxy) -> None:
    name = f"b{time.time_ns()}"
    words = ("submit", "--sweep", "i=0..1", "--batch", name, "--stop-on-interrupt", "--", "sleep", "8{i}")
    running = cli.start(*words, address=proxy.url)
    assert running.stderr is not None
    seen = 0
    while seen < 2:
        line = running.stderr.readline()
        assert line
        seen += b"RUNNING" in line
    gone = answer(404, "no", "text/plain")
    proxy.faults = Faults(instead=lambda line: gone if line.startswith("POST") else None)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=90)
    cli("stop", *(f"{name}-{i}" for i in range(2)), "--no-wait")
    assert running.returncode == 130, said
    assert said.count(b"could not be stopped") == 2


def test_a_package_that_the_server_no_longer_has_is_refused_in_a_batch_too(runs: Runs) -> None:
    whole = batch.from_sweep(["echo", "{i}"], {"working_dir": "gcs://_ray_pkg_0123456789abcdef.zip"}, {"i": ["1", "2"]})
    items = runs(replace(whole, name=f"vanished-{time.time_ns()}"), BatchOptions())
    assert [item.exit_code for item in items] == [2, 2]
    assert "no longer has the package" in str(items[0].error)
    assert [request for request in runs.requests if request[0] == "POST"] == []
    assert {runs.ledger.history(limit=2)[i].status for i in (0, 1)} == {"REFUSED"}


def test_a_job_whose_id_another_client_took_is_not_recorded_as_refused(runs: Runs, head: Head) -> None:
    """The id belongs to the other job, which was not refused."""
    import httpx

    def take_the_id(item: BatchItem) -> None:
        if item.status == "SUBMITTING":
            headers = {"Authorization": f"Bearer {head.token}"}
            body = {"entrypoint": "echo another", "submission_id": item.submission_id}
            httpx.post(f"{head.url}/api/jobs/", json=body, headers=headers, timeout=30).raise_for_status()

    (item,) = runs(swept("echo {i}", "taken", i=["1"]), BatchOptions(), take_the_id)
    assert isinstance(item.error, Conflict)
    entry = runs.ledger.get(item.submission_id)
    assert entry is not None
    assert entry.status != "REFUSED"
