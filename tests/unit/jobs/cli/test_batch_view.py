"""What a batch shows while it runs: a table and a bar at a terminal, lines elsewhere, JSON on stdout."""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from jobs.batch.jobs_file import BatchJob
from jobs.batch.run import BatchItem
from jobs.cli.batch_view import LiveTable
from jobs.ledger.records import Origin
from jobs.spec.job_spec import JobRequest, JobSpec
from jobs.submit import PreparedJob
from tests.support.command import Cli
from tests.support.http_server import JsonHandler, serve
from tests.support.terminal import run_at_terminal

SECONDS = 2.0
WORDS = ("submit", "--allow-unauthenticated", "--batch", "b", "--sweep", "i=0..3", "--concurrency", "2")
ENTRYPOINT = ("--", "true {i}")


@contextmanager
def stand_in() -> Iterator[str]:
    """Accepts jobs, which run for SECONDS; the last one fails."""
    began: dict[str, float] = {}

    def job(submission_id: str, at: float) -> dict[str, Any]:
        fails = submission_id.endswith("3")
        ended = time.time() >= at + SECONDS
        status = ("FAILED" if fails else "SUCCEEDED") if ended else "RUNNING"
        return {
            "submission_id": submission_id,
            "status": status,
            "type": "SUBMISSION",
            "entrypoint": "true",
            "start_time": int(at * 1000),
            "end_time": int((at + SECONDS) * 1000) if ended else None,
            "message": "Traceback:\nValueError: [/red]" if fails and ended else "",
        }

    class Handler(JsonHandler):
        def do_GET(self) -> None:
            if self.path == "/api/jobs/":
                self.answer([job(*item) for item in list(began.items())])
            else:
                self.answer("It does not exist", 404)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            began[body["submission_id"]] = time.time()
            self.answer({"submission_id": body["submission_id"]})

    with serve(Handler) as url:
        yield url


def test_at_a_terminal_a_table_and_a_bar_with_the_time_left(bare_cli: Cli) -> None:
    with stand_in() as url:
        words = bare_cli.command(*WORDS, *ENTRYPOINT, address=url)
        code, out, shown = run_at_terminal(words, bare_cli.cwd, bare_cli.environ)
    assert (code, out) == (1, b"")
    text = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode())
    assert re.search(r"Batch b .* 2 of 4 jobs, \d+\.\d jobs/min, \d+ s left", text)
    *_, end = frames = text.split("\x1b[2K")  # Each begins after a line that was replaced.
    table = next(frame for frame in reversed(frames) if "SUCCEEDED" in frame)
    assert len(re.findall(r"b-i\d +SUCCEEDED", table)) == 3
    assert "Batch b: 3 done, 1 failed." in end
    assert "ValueError: [/red]" in end
    assert "Batch b ━" not in end


def test_elsewhere_each_job_has_lines_of_its_own(bare_cli: Cli) -> None:
    with stand_in() as url:
        done = bare_cli(*WORDS, *ENTRYPOINT, address=url)
    assert (done.returncode, done.stdout) == (1, b"")
    lines = done.stderr.decode().splitlines()
    assert lines[0] == "Batch b: 4 jobs, 2 at a time."
    assert "Job b-i0 SUCCEEDED after 2 s." in lines
    assert any(line.startswith("Job b-i3 FAILED after 2 s.") and "ValueError" in line for line in lines)
    assert "\x1b" not in done.stderr.decode()


def test_json_is_on_stdout_and_quiet_leaves_the_failures(bare_cli: Cli) -> None:
    with stand_in() as url:
        done = bare_cli(*WORDS, "--quiet", "--output", "json", *ENTRYPOINT, address=url)
    assert done.returncode == 1
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[-1]["event"] == "end"
    assert events[-1]["counts"]["failed"] == 1
    assert done.stderr == b""


def test_the_table_says_why_a_job_is_pending() -> None:
    job = BatchJob("i", {}, JobRequest(JobSpec("x")))
    item = BatchItem(job, PreparedJob("b-i", JobSpec("x"), (), Origin()), status="PENDING", since=time.time())
    item.reason = "waiting for a small-group worker"
    written = io.StringIO()
    Console(file=written, width=200).print(LiveTable("b", lambda: [item]).table())
    assert "waiting for a small-group worker" in written.getvalue()
