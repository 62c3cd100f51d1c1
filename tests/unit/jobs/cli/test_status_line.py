"""What a command says while it waits: one line at a terminal, plain lines elsewhere, nothing on stdout."""

from __future__ import annotations

import json
import os
import pty
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jobs.activity import Activity, activity, listening
from jobs.cli.output import notify, write_stdout
from jobs.cli.status_line import StatusLine, duration, live_text, plain_text
from jobs.deadline import Deadline
from tests.support.command import Cli
from tests.support.http_server import JsonHandler, serve
from tests.support.terminal import run_at_terminal

JOB: dict[str, Any] = {
    "submission_id": "j",
    "status": "SUCCEEDED",
    "type": "SUBMISSION",
    "entrypoint": "true",
    "start_time": 1_000,
    "end_time": 13_400,
}
ESCAPE = b"\x1b["
COLOUR = re.compile(rb"\x1b\[[0-9;]*m")
UNTIL = re.compile(rb"until \d\d:\d\d:\d\d")


@contextmanager
def slow_server(seconds: float) -> Iterator[str]:
    """A server that answers every question with the job, `seconds` late."""

    class Handler(JsonHandler):
        def do_GET(self) -> None:
            time.sleep(seconds)
            self.answer(JOB)

    with serve(Handler) as url:
        yield url


def test_after_two_seconds_a_plain_line_says_what_is_waited_for_and_until_when(bare_cli: Cli) -> None:
    with slow_server(3.5) as url:
        done = bare_cli("status", "j", "--output", "json", address=url)
    assert json.loads(done.stdout)["submission_id"] == "j"
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"Waiting for an answer from {url}; until ".encode())
    assert UNTIL.search(line)


def test_a_quick_answer_is_not_announced(bare_cli: Cli) -> None:
    with slow_server(0) as url:
        assert bare_cli("status", "j", address=url).stderr == b""


def test_quiet_says_nothing_and_changes_nothing_else(bare_cli: Cli) -> None:
    with slow_server(3.0) as url:
        done = bare_cli("wait", "j", "--quiet", address=url)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("environ", [{}, {"NO_COLOR": ""}, {"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_at_a_terminal_one_line_is_replaced_and_taken_away(bare_cli: Cli, environ: dict[str, str]) -> None:
    with slow_server(2.5) as url:
        words = bare_cli.command("status", "j", address=url)
        code, out, shown = run_at_terminal(words, bare_cli.cwd, {**bare_cli.environ, **environ})
    assert code == 0
    assert b"SUCCEEDED" in out
    assert b"Waiting for an answer" not in out
    assert b"Waiting for an answer from" in shown
    if environ == {"TERM": "dumb"}:
        assert ESCAPE not in shown
        return
    assert UNTIL.search(shown)
    assert shown.endswith(b"\x1b[2K")  # The line is gone.
    assert shown.count(b"\x1b[?25h") == shown.count(b"\x1b[?25l")  # So is the hidden cursor.
    assert bool(COLOUR.search(shown)) == (not environ.get("NO_COLOR"))


@contextmanager
def shown_at_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[bytearray]:
    """What comes to a terminal that is stdout and stderr of this process, with a status line."""
    ours, theirs = pty.openpty()
    shown = bytearray()

    def read() -> None:
        try:
            while piece := os.read(ours, 1 << 16):
                shown.extend(piece)
        except OSError:  # The terminal is closed.
            pass

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    line = StatusLine()
    with os.fdopen(theirs, "w", encoding="utf-8") as stream, monkeypatch.context() as patch, listening(line):
        patch.setenv("TERM", "xterm")
        patch.setattr(sys, "stderr", stream)
        patch.setattr(sys, "stdout", stream)
        patch.setattr("jobs.cli.output.STATUS_LINE", line)
        yield shown
    reader.join(10)
    os.close(ours)


def test_the_line_is_not_drawn_into_a_line_of_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    with shown_at_terminal(monkeypatch) as terminal, activity("Waiting for X"):
        write_stdout(b"50%\r60%")
        time.sleep(2.0)
        assert b"Waiting for X" not in terminal
        write_stdout(b"\n")
        time.sleep(2.0)
        assert b"Waiting for X" in terminal
        write_stdout(b"more\n")
    before, _, after = bytes(terminal).rpartition(b"\x1b[2K")
    assert b"Waiting for X" in before
    assert after == b"more\r\n"


def test_a_message_takes_the_line_away_and_begins_a_line_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    with shown_at_terminal(monkeypatch) as terminal, activity("Waiting for X"):
        time.sleep(1.0)
        notify("A message.")
        write_stdout(b"no end of line")
        notify("Another one.")
    lines = COLOUR.sub(b"", bytes(terminal)).rpartition(b"\x1b[2K")[2].splitlines()
    assert lines == [b"A message.", b"no end of line", b"Another one."]


def test_bytes_are_a_bar_with_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    with shown_at_terminal(monkeypatch) as terminal, activity("Uploading", total=100 * 1024**2) as upload:
        upload.began -= 10
        upload.add(40 * 1024**2)
        time.sleep(1.0)
    assert "━".encode() in terminal
    assert re.search(rb"Uploading .* 40\.0 of 100\.0 MiB, [34]\.\d MiB/s, 1[5-9] s left", COLOUR.sub(b"", terminal))


def test_beside_another_program_no_line_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        shown_at_terminal(monkeypatch) as terminal,
        activity("Waiting for the login program x", plain=True),
        activity("Waiting for X"),
    ):
        time.sleep(3.0)
    assert bytes(terminal) == b"Waiting for the login program x.\r\n"


def test_a_plain_line_comes_again_only_when_something_has_changed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("jobs.cli.status_line.CHANGE_SECONDS", 0.5)
    with listening(StatusLine()), activity("Waiting for X", Deadline(None)) as waiting:
        waiting.began -= 2
        time.sleep(1.0)
        waiting.detail = "2 of 3\nare done."
        time.sleep(1.0)
    assert capsys.readouterr().err.splitlines() == [
        "Waiting for X; no time limit.",
        "Waiting for X: 2 of 3 are done; no time limit.",
    ]


def test_polls_that_are_slow_are_announced_once(capsys: pytest.CaptureFixture[str]) -> None:
    with listening(StatusLine()):
        for _ in range(3):
            with activity("Waiting for X") as waiting:
                waiting.began -= 2
                time.sleep(0.4)
    assert capsys.readouterr().err.splitlines() == ["Waiting for X."]


def test_the_texts_of_a_line() -> None:
    waiting = Activity("Waiting for X", Deadline(90), detail="refused.")
    waiting.began -= 30
    assert re.fullmatch(r"Waiting for X: refused \(30 s, until \d\d:\d\d:\d\d\)", live_text(waiting))
    assert re.fullmatch(r"Waiting for X: refused; until \d\d:\d\d:\d\d \(1 min 30 s\)\.", plain_text(waiting))
    jobs = Activity("Batch b", total=20, unit="jobs", done=5)
    jobs.began -= 60
    assert plain_text(jobs) == "Batch b: 5 of 20 jobs (25 %), 5.0 jobs/min, 3 min left."


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (60, "1 min"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_a_duration_has_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_closed_stderr_does_not_disturb_a_command(bare_cli: Cli, tmp_path: Path) -> None:
    import subprocess

    with slow_server(3.0) as url:
        words = " ".join(bare_cli.command("status", "j", address=url))
        done = subprocess.run(
            ["sh", "-c", f"exec {words} 2>&-"], cwd=bare_cli.cwd, env=bare_cli.environ, capture_output=True, check=False
        )
    assert done.returncode == 0
    assert b"SUCCEEDED" in done.stdout
