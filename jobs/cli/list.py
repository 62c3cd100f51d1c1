"""`list`: the jobs that the server knows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from ..spec.durations import parse_since
from .help import ANSWER_HELP, TARGET_HELP, Command, option
from .job_table import HEADER, OPTIONAL, Filter, rows_of
from .options import output_option, target_options
from .output import print_json
from .runner import with_session
from .statuses import statuses_option
from .table import print_table

if TYPE_CHECKING:
    from ..session import Session
    from ..spec.job_info import JobInfo
    from ..target.options import TargetOptions


@click.command("list", cls=Command, epilog=TARGET_HELP + ANSWER_HELP)
@statuses_option()
@option("--user", metavar="NAME", help="Only jobs that this user submitted with rayjobs.")
@option("--since", metavar="TIME", help="Only jobs that started since then: 2h, 7d, 2026-11-26.")
@option("--metadata", multiple=True, metavar="KEY=VALUE", help="Only with this metadata (repeatable).")
@option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the N newest.")
@option("--all", "drivers", is_flag=True, help="Also drivers that were not submitted as jobs.")
@option("--watch", is_flag=True, help="Until Ctrl-C: the list, at a terminal; else a line for each change.")
@output_option
@target_options
def list_command(
    statuses: tuple[str, ...],
    user: str | None,
    since: str | None,
    metadata: tuple[str, ...],
    limit: int | None,
    drivers: bool,
    watch: bool,
    output: str,
    target_options: TargetOptions,
) -> None:
    """List the jobs that the server knows, oldest first.

    \b
    Examples:
      rayjobs list
      rayjobs list --watch --status RUNNING --status PENDING
      rayjobs list --user alice --since 2h
      rayjobs list --metadata team=search --output json
    """
    pairs = [text.partition("=") for text in metadata]
    if not all(key and equals for key, equals, _ in pairs):
        raise click.UsageError("--metadata requires KEY=VALUE, such as team=search.")
    job_filter = Filter(
        statuses=statuses,
        metadata=[(key, value) for key, _, value in pairs],
        user=user,
        since=parse_since(since, "--since", time.time()) if since else None,
        limit=limit,
        drivers=drivers,
    )
    if watch:
        from .watch import watch_jobs

        with_session(target_options, lambda session: watch_jobs(session, job_filter, output), record=False)

    async def read(session: Session) -> list[JobInfo]:
        return await session.watcher.list_jobs()

    jobs = job_filter.choose(with_session(target_options, read, record=False))
    if output == "json":
        print_json([job.as_json() for job in jobs])
        return
    print_table(HEADER, rows_of(jobs), optional=OPTIONAL)
