"""`list --watch`: the list that is drawn again, or a line for each change."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import TYPE_CHECKING, NoReturn

import click

from ..dashboard.waiting import LIST_PAUSE_FACTOR, PATIENCE_SECONDS
from ..errors import NotAllowed, Unreachable, number_of
from .job_table import HEADER, OPTIONAL, Filter, rows_of
from .output import local_time, notify, print_json_line, print_text
from .table import table_lines
from .terminal import at_terminal, in_colour, size_of_stdout

if TYPE_CHECKING:
    from ..session import Session
    from ..spec.job_info import JobInfo

PAUSE_SECONDS = 2.0
# To the upper left, and from there to the end of the screen; to the end of the line.
HOME, CLEAR_REST, CLEAR_LINE = "\x1b[H", "\x1b[J", "\x1b[K"
CLEAR_SCREEN = "\x1b[2J"


async def watch_jobs(session: Session, job_filter: Filter, output: str) -> NoReturn:
    """Shows the jobs until it is cancelled. A server that has answered may be silent for PATIENCE_SECONDS.

    Raises:
        Unreachable, NotAllowed
    """
    is_drawn = output == "text" and at_terminal(sys.stdout)
    statuses: dict[str, str] = {}
    answered_at: float | None = None
    if is_drawn:
        click.echo(CLEAR_SCREEN, nl=False)
    while True:
        began = time.monotonic()
        try:
            jobs = job_filter.choose(await session.watcher.list_jobs())
            answered_at = time.monotonic()
        except NotAllowed:
            raise
        except Unreachable as error:
            if answered_at is None or time.monotonic() - answered_at > PATIENCE_SECONDS:
                raise
            notify(f"{error.message} Trying again.")
        else:
            if is_drawn and (size := size_of_stdout()):
                _draw(jobs, session.connection.target.name, size)
            else:
                _print_changes(jobs, statuses, output)
        await asyncio.sleep(max(PAUSE_SECONDS, LIST_PAUSE_FACTOR * (time.monotonic() - began)))


def _draw(jobs: list[JobInfo], target: str, size: os.terminal_size) -> None:
    """Draws the newest jobs that fit the screen."""
    height = max(1, size.lines - 3)
    rows = rows_of(jobs)
    title = f"{target}: {number_of(len(jobs), 'job')}, {local_time(time.time())}"
    if len(rows) > height:
        title += f", the {height} newest"
    lines = table_lines(HEADER, rows[-height:], optional=OPTIONAL, width=size.columns, colour=in_colour(sys.stdout))
    text = "\n".join(f"{line}{CLEAR_LINE}" for line in (title[: size.columns], *lines))
    click.echo(f"{HOME}{text}\n{CLEAR_REST}", nl=False, color=True)


def _print_changes(jobs: list[JobInfo], statuses: dict[str, str], output: str) -> None:
    for job in jobs:
        if statuses.get(job.submission_id) != job.status:
            statuses[job.submission_id] = job.status
            if output == "json":
                print_json_line(job.as_json())
            else:
                print_text(f"{local_time(time.time())}  {job.submission_id}  {job.status}")
