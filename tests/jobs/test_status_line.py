"""What a command says of a real job that waits, and how it ended."""

from __future__ import annotations

import re

from tests.jobs.conftest import new_id, output_of
from tests.support.command import Cli


def test_a_job_that_stays_pending_says_why_after_ten_seconds(cli: Cli) -> None:
    job = new_id()
    words = ("--submission-id", job, "--entrypoint-num-cpus", "64", "--queue-timeout", "20")
    done = cli("submit", *words, "--", "true")
    assert (done.returncode, done.stdout) == (5, b"")
    said = done.stderr.decode()
    (line,) = (line for line in said.splitlines() if line.startswith(f"Job {job} is PENDING:"))
    assert re.fullmatch(rf"Job {job} is PENDING: .*64 CPU.*; until \d\d:\d\d:\d\d \(\d+ s\)\.", line), said


def test_the_end_of_a_job_is_one_line_with_the_time_and_of_a_failure_the_reason(cli: Cli) -> None:
    done = cli("submit", "--", "echo hello")
    assert output_of(done.stdout) == b"hello\n"
    assert re.search(rb"\nJob \S+ SUCCEEDED after \d+ s\.\n$", done.stderr)
    assert b" is SUCCEEDED" not in done.stderr
    failed = cli("submit", "--", "python -c 'int(\"x\")'")
    assert failed.returncode == 1
    last = failed.stderr.decode().splitlines()[-1]
    assert re.match(r"Job \S+ FAILED after \d+ s, exit code 1\. .*ValueError: invalid literal .* Next: `", last), last
