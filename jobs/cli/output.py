"""All that is printed: the job's bytes and answers to stdout, everything else to stderr.

Every text but the job's bytes becomes visible here (see `jobs.spec.shown`), because it may contain a text of others.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from ..errors import command
from ..spec.shown import visible, visible_json

if TYPE_CHECKING:
    from ..spec.job_info import Result


def notify(text: str) -> None:
    """Prints a line for the person who runs the command to stderr, grey at a terminal."""
    _to_stderr(text, dim=True)


def print_error(text: str) -> None:
    """Prints an error to stderr, red at a terminal."""
    _to_stderr(text, fg="red")


def _to_stderr(text: str, **style: Any) -> None:
    text = visible(text, lines=True)
    if sys.stderr.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb":
        text = click.style(text, **style)
    click.echo(text, err=True, color=True)


def print_text(text: str) -> None:
    """Prints an answer as text to stdout."""
    click.echo(visible(text, lines=True))


def print_json(value: Any) -> None:
    """Prints an answer as JSON to stdout."""
    click.echo(visible_json(value, indent=2))


def print_json_line(value: Any) -> None:
    """Prints one of many JSON answers on one line."""
    click.echo(visible_json(value))


def print_fields(fields: list[tuple[str, Any]]) -> None:
    """Prints a line for each field that has a value; further lines of a value begin with a bar."""
    for name, value in fields:
        if value not in (None, ""):
            first, *others = str(value).splitlines() or [""]
            click.echo(visible(f"{name + ':':<12}{first}"))
            for line in others:
                click.echo(visible(f"{'|':>11} {line}"))


def write_stdout(data: bytes) -> None:
    """Writes the job's bytes to stdout, unchanged and at once."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def write_stderr(data: bytes) -> None:
    """Writes the job's bytes to stderr, when stdout is for JSON."""
    sys.stderr.buffer.write(data)
    sys.stderr.buffer.flush()


def local_time(seconds: float | None) -> str:
    """Returns a time in this machine's zone; empty for none."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) if seconds else ""


def result_text(result: Result) -> str:
    """Describes how a job ended: its status, then the exit code, error and message that it has."""
    text = result.status
    if result.driver_exit_code not in (None, 0):
        text += f", exit code {result.driver_exit_code}"
    if result.error_type:
        text += f", {result.error_type}"
    if result.status == "FAILED" and result.message:
        # The message repeats the end of the log; only its first line is new.
        text += f": {result.message.strip().splitlines()[0][:300]}"
    if result.status == "LOST":
        text += f" (the server no longer knows it; {command(f'rerun {result.submission_id}')} submits it again)"
    return text


def notify_end(result: Result) -> None:
    notify(f"Job {result.submission_id} ended: {result_text(result)}")


def upload_progress() -> Callable[[int, int], None]:
    """Shows the progress of an upload on stderr: one line that is overwritten at a terminal, else a line every 5 s."""
    at_terminal = sys.stderr.isatty()
    last = 0.0 if at_terminal else time.monotonic()

    def progress(sent: int, total: int) -> None:
        nonlocal last
        done, now = sent >= total, time.monotonic()
        if now - last < (0.1 if at_terminal else 5.0) and not (done and at_terminal):
            return
        last = now
        text = f"  {sent / 1024**2:.1f} of {total / 1024**2:.1f} MiB ({100 * sent // max(1, total)} %)"
        click.echo(f"\r{text}" if at_terminal else text, err=True, nl=done or not at_terminal)

    return progress
