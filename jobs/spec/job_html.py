"""A job as HTML and as a line of text, for a notebook. Pure."""

from __future__ import annotations

import time
from html import escape
from typing import TYPE_CHECKING

from ..errors import command_line
from .durations import show_duration
from .shown import SENTENCE_LIMIT, shown

if TYPE_CHECKING:
    from .job_info import JobInfo

# Readable on a light and on a dark page; the other states have the colour of the page's text.
COLOURS = {"RUNNING": "#1e88e5", "SUCCEEDED": "#2e9d4f", "FAILED": "#e5484d", "LOST": "#e5484d"}
NEXT = {"FAILED": "why", "LOST": "rerun"}
ENTRYPOINT_LIMIT = 500


def job_html(job: JobInfo, reason: str = "") -> str:
    """Returns the job as a table: id, status, duration, entrypoint, reason.

    What looks like a secret is withheld, and all texts are escaped.

    Args:
        job: The job.
        reason: Why it waits or failed, if that is known.
    """
    job = job.shown(ENTRYPOINT_LIMIT)
    reason = shown(reason, SENTENCE_LIMIT, lines=True)
    status = f'<b style="color: {COLOURS.get(job.status, "inherit")}">{escape(job.status)}</b>'
    if job.driver_exit_code not in (None, 0):
        status += f", exit code {job.driver_exit_code}"
    rows = [
        ("Job", escape(job.submission_id)),
        ("Status", status),
        ("Duration", _duration(job)),
        ("Entrypoint", f"<code>{escape(job.entrypoint)}</code>" if job.entrypoint else ""),
        ("Reason", escape(reason)),
        ("Next", f"<code>{escape(_next_command(job))}</code>" if job.status in NEXT else ""),
    ]
    cell = '<td style="text-align: left; white-space: pre-wrap">'
    head = '<th style="text-align: left; vertical-align: top">'
    lines = [f"<tr>{head}{name}</th>{cell}{content}</td></tr>" for name, content in rows if content]
    return "\n".join(["<table>", *lines, "</table>"])


def job_line(job: JobInfo, reason: str = "") -> str:
    """Returns the job as one line, where HTML cannot be shown."""
    job = job.shown(ENTRYPOINT_LIMIT)
    duration = _duration(job)
    text = f"Job {job.submission_id}: {job.status}{f', {duration}' if duration else ''}"
    return f"{text}. {shown(reason, SENTENCE_LIMIT)}" if reason else f"{text}."


def _duration(job: JobInfo) -> str:
    """Returns the time from the submission to the end, or to now; empty if the server has not told it."""
    if job.start_time is None or (job.ended and job.end_time is None):
        return ""
    return show_duration((time.time() if job.end_time is None else job.end_time / 1000) - job.start_time / 1000)


def _next_command(job: JobInfo) -> str:
    return command_line(f"{NEXT[job.status]} {job.submission_id}")
