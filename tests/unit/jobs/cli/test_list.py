"""`list`: whose jobs, since when, how wide, and how they change."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from jobs.cli.job_table import HEADER, OPTIONAL
from jobs.cli.table import table_lines
from jobs.spec.job_spec import JobSpec
from jobs.user import user_for_cluster
from tests.support.command import Cli, wait_until
from tests.support.http_server import JsonHandler, serve

NOW = time.time()


def job(submission_id: str, status: str = "RUNNING", user: str = "", age: float = 60.0) -> dict[str, Any]:
    return {
        "submission_id": submission_id,
        "status": status,
        "type": "SUBMISSION",
        "entrypoint": "python train.py --learning-rate 0.001 --epochs 100 --data s3://bucket/training/data",
        "start_time": int((NOW - age) * 1000),
        "metadata": {"rayjobs.user": user} if user else {},
    }


@contextmanager
def dashboard(jobs: list[dict[str, Any]], requests: list[str] | None = None) -> Iterator[str]:
    class Dashboard(JsonHandler):
        def do_GET(self) -> None:
            if requests is not None:
                requests.append(self.path)
            self.answer(jobs if self.path.startswith("/api/jobs") else {"data": {"result": {"result": []}}})

    with serve(Dashboard) as url:
        yield url


JOBS = [job("old", user="alice", age=7200), job("of-bob", "FAILED", "bob"), job("of-alice", user="alice", age=1)]


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ((), ["old", "of-bob", "of-alice"]),
        (("--user", "alice"), ["old", "of-alice"]),
        (("--since", "1h"), ["of-bob", "of-alice"]),
        (("--user", "alice", "--since", "1h"), ["of-alice"]),
        (("--since", "2999-01-01"), []),
    ],
)
def test_only_the_jobs_of_a_user_or_since_a_time_are_shown(
    options: tuple[str, ...], ids: list[str], bare_cli: Cli
) -> None:
    with dashboard(JOBS) as url:
        listed = json.loads(bare_cli("list", *options, "--output", "json", address=url).stdout)
    assert [each["submission_id"] for each in listed] == ids


def test_the_user_of_a_job_is_sent_with_it_and_does_not_change_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYJOBS_USER", "alice")
    spec = JobSpec("true")
    assert user_for_cluster() == "alice"
    assert spec.wire("a", "alice")["metadata"]["rayjobs.user"] == "alice"
    assert spec.wire("a", "alice")["metadata"]["rayjobs.spec_sha256"] == spec.digest
    monkeypatch.setenv("RAYJOBS_USER", "")
    assert "rayjobs.user" not in spec.wire("a", user_for_cluster())["metadata"]


ROW = ("raysubmit_0123456789abcdef", "RUNNING", "alice", "2026-11-26 14:00:00", "3m20s", "python train.py --epochs 100")


@pytest.mark.parametrize("width", [200, 100, 80, 60])
def test_no_line_is_wider_than_the_terminal_also_with_wide_letters(width: int) -> None:
    lines = table_lines(HEADER, [ROW, (*ROW[:-1], "日本語" * 60)], optional=OPTIONAL, width=width)
    assert max(len(line) + sum(each in "日本語" for each in line) for line in lines) <= width
    assert lines[2].endswith("…")


@pytest.mark.parametrize("width", [40, 20, 1])
def test_id_and_status_are_complete_however_narrow_the_terminal_is(width: int) -> None:
    assert table_lines(HEADER, [ROW], optional=OPTIONAL, width=width)[1].split()[:2] == [ROW[0], "RUNNING"]


def test_a_narrow_terminal_loses_columns_before_the_command_and_never_id_and_status() -> None:
    wide = table_lines(HEADER, [ROW], optional=OPTIONAL, width=120)
    assert wide[1].endswith("python train.py --epochs 100")
    assert "STARTED" not in table_lines(HEADER, [ROW], optional=OPTIONAL, width=80)[0]
    narrow = table_lines(HEADER, [ROW], optional=OPTIONAL, width=56)
    assert narrow[0].split() == ["ID", "STATUS", "ENTRYPOINT"]
    assert narrow[1].endswith("…")
    assert max(map(len, narrow)) <= 56


def test_without_a_terminal_every_column_is_complete_and_plain(bare_cli: Cli) -> None:
    with dashboard(JOBS) as url:
        lines = bare_cli("list", address=url, COLUMNS="40").stdout.decode().splitlines()
    assert lines[0].split() == list(HEADER)
    assert "\x1b" not in "".join(lines)
    assert lines[1].split()[:3] == ["old", "RUNNING", "alice"]


def on_terminal(cli: Cli, *words: str, columns: int, **environ: str) -> tuple[subprocess.Popen[bytes], int]:
    """Starts a command whose stdout is a terminal of this width. Returns it with the terminal."""
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "jobs", *words], cwd=cli.cwd,
        env={**cli.environ, "TERM": "xterm", "COLUMNS": "", **environ},
        stdin=subprocess.DEVNULL, stdout=end, stderr=subprocess.PIPE,
    )  # fmt: skip
    os.close(end)
    return process, terminal


def read_all(terminal: int) -> str:
    data = b""
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # The command has ended.
            return data.decode()
        if not piece:
            return data.decode()
        data += piece


def test_at_a_terminal_lines_fit_and_states_have_colours_unless_no_color_is_set(bare_cli: Cli) -> None:
    with dashboard(JOBS) as url:
        process, terminal = on_terminal(bare_cli, "list", "--address", url, columns=60, NO_COLOR="")
        coloured = read_all(terminal)
        assert process.wait(60) == 0
        process, terminal = on_terminal(bare_cli, "list", "--address", url, columns=60, NO_COLOR="1")
        plain = read_all(terminal)
    assert "\x1b[31mFAILED\x1b[0m" in coloured
    assert "\x1b" not in plain
    assert max(map(len, plain.splitlines())) <= 60


def test_watch_at_a_terminal_draws_the_list_again_until_ctrl_c(bare_cli: Cli) -> None:
    jobs = [job("first")]
    with dashboard(jobs) as url:
        process, terminal = on_terminal(bare_cli, "list", "--watch", "--address", url, columns=80)
        drawn = os.read(terminal, 65536).decode()
        while "first" not in drawn:
            drawn += os.read(terminal, 65536).decode()
        jobs.append(job("second"))
        while "second" not in drawn:
            drawn += os.read(terminal, 65536).decode()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130


def test_watch_at_a_terminal_that_cannot_replace_text_prints_lines(bare_cli: Cli) -> None:
    with dashboard([job("first")]) as url:
        process, terminal = on_terminal(bare_cli, "list", "--watch", "--address", url, columns=80, TERM="dumb")
        shown = os.read(terminal, 65536).decode()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    assert "first  RUNNING" in shown
    assert "\x1b" not in shown


def test_watch_without_a_terminal_prints_each_change_once(bare_cli: Cli) -> None:
    jobs, requests = [job("first")], list[str]()
    with dashboard(jobs, requests) as url:
        process = bare_cli.start("list", "--watch", "--output", "json", address=url)
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["status"] == "RUNNING"
        jobs[0] = job("first", "SUCCEEDED")
        assert json.loads(process.stdout.readline())["status"] == "SUCCEEDED"
        lists = requests.count("/api/jobs/")
        wait_until(lambda: requests.count("/api/jobs/") > lists + 1)
        process.send_signal(signal.SIGINT)
        wait_until(lambda: process.poll() is not None)
        assert process.stdout.read() == b""
        assert process.returncode == 130
