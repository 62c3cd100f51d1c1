"""All that is printed: the job's bytes and answers to stdout, everything else to stderr.

Every text but the job's bytes becomes visible here (see `jobs.spec.shown`), because it may contain a text of others.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from ..errors import command
from ..spec.shown import visible, visible_json
from .status_line import STATUS_LINE, duration
from .terminal import in_colour

if TYPE_CHECKING:
    from ..spec.job_info import Result


def notify(text: str) -> None:
    """Prints a line for the person who runs the command to stderr, grey at a terminal; nothing with --quiet."""
    if not STATUS_LINE.quiet:
        _to_stderr(text, dim=True)


def print_error(text: str) -> None:
    """Prints an error to stderr, red at a terminal."""
    _to_stderr(text, fg="red")


def _to_stderr(text: str, **style: Any) -> None:
    text = visible(text, lines=True)
    if in_colour(sys.stderr):
        text = click.style(text, **style)
    with STATUS_LINE.hidden():
        click.echo(text, err=True, color=True)


def print_text(text: str) -> None:
    """Prints an answer as text to stdout."""
    with STATUS_LINE.hidden():
        click.echo(visible(text, lines=True))


def print_json(value: Any) -> None:
    """Prints an answer as JSON to stdout."""
    click.echo(visible_json(value, indent=2))


def print_json_line(value: Any) -> None:
    """Prints one of many JSON answers on one line."""
    with STATUS_LINE.hidden():
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
    with STATUS_LINE.hidden_for(data, sys.stdout.buffer):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def write_stderr(data: bytes) -> None:
    """Writes the job's bytes to stderr, when stdout is for JSON."""
    with STATUS_LINE.hidden_for(data, sys.stderr.buffer):
        sys.stderr.buffer.write(data)
        sys.stderr.buffer.flush()


def local_time(seconds: float | None) -> str:
    """Returns a time in this machine's zone; empty for none."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) if seconds else ""


def outcome_text(result: Result, log_end: str = "") -> str:
    """Returns how a job ended: status, time from its submission to its end, exit code, and why it failed.

    Args:
        result: How the job ended.
        log_end: The end of its log, if it was read.
    """
    from ..spec.job_info import LOST

    if result.status == LOST:
        return f"Job {visible(result.submission_id)} is lost: the server no longer knows it."
    text = f"Job {visible(result.submission_id)} {visible(result.status)}"
    job = result.info
    if job is not None and job.start_time is not None and job.end_time is not None:
        text += f" after {duration((job.end_time - job.start_time) / 1000)}"
    if result.driver_exit_code not in (None, 0):
        text += f", exit code {result.driver_exit_code}"
    if result.status != "FAILED":
        return f"{text}."
    from ..diagnose.ending import failure_reason

    reason = failure_reason(job, log_end)
    return f"{text}. {reason.rstrip('.')}." if reason else f"{text}."


def end_text(result: Result, log_end: str = "") -> str:
    """Returns the line about the end of a job: `outcome_text`, and what to do next if it failed or is lost."""
    from ..spec.job_info import LOST

    what_next = {"FAILED": "why", LOST: "rerun"}.get(result.status)
    text = outcome_text(result, log_end)
    return f"{text} Next: {command(f'{what_next} {visible(result.submission_id)}')}" if what_next else text


def report_end(result: Result, log_end: str = "") -> None:
    """Prints the line about the end of a job; in red, and also with --quiet, if it did not succeed."""
    (print_error if result.exit_code else notify)(end_text(result, log_end))
