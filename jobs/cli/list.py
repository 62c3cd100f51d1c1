"""`list`: the jobs that the server knows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from ..spec.shown import cell
from .help import ANSWER_HELP, TARGET_HELP, Command, option
from .options import output_option, target_options
from .output import local_time, print_json, print_table
from .runner import with_session

if TYPE_CHECKING:
    from ..session import Session
    from ..spec.job_info import JobInfo
    from ..target.options import TargetOptions


@click.command("list", cls=Command, epilog=TARGET_HELP + ANSWER_HELP)
@option("--status", "statuses", multiple=True, metavar="STATUS", help="Only this status (repeatable).")
@option("--metadata", multiple=True, metavar="KEY=VALUE", help="Only with this metadata (repeatable).")
@option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the N newest.")
@option("--all", "drivers", is_flag=True, help="Also drivers that were not submitted as jobs.")
@output_option
@target_options
def list_command(
    statuses: tuple[str, ...],
    metadata: tuple[str, ...],
    limit: int | None,
    drivers: bool,
    output: str,
    target_options: TargetOptions,
) -> None:
    """List the jobs that the server knows, oldest first.

    \b
    Examples:
      rayjobs list
      rayjobs list --status RUNNING --status PENDING
      rayjobs list --metadata team=search --output json
    """
    pairs = [text.partition("=") for text in metadata]
    if not all(key and equals for key, equals, _ in pairs):
        raise click.UsageError("--metadata requires KEY=VALUE, such as team=search.")

    async def read(session: Session) -> list[JobInfo]:
        return await session.watcher.list_jobs()

    names = {status.upper() for status in statuses}
    jobs = [
        job
        for job in with_session(target_options, read, record=False)
        if (drivers or job.type == "SUBMISSION")
        and (not names or job.status in names)
        and all(job.metadata.get(key) == value for key, _, value in pairs)
    ]
    jobs = jobs[-limit:] if limit else jobs
    if output == "json":
        print_json([job.as_json() for job in jobs])
        return
    print_table(("ID", "STATUS", "STARTED", "SECONDS", "ENTRYPOINT"), [_row(job) for job in jobs])


def _row(job: JobInfo) -> tuple[str, ...]:
    started, seconds = "", ""
    if job.start_time:
        started = local_time(job.start_time / 1000)
    if job.start_time is not None:
        seconds = f"{((job.end_time or time.time() * 1000) - job.start_time) / 1000:.0f}"
    return job.submission_id, job.status, started, seconds, cell(job.entrypoint)
