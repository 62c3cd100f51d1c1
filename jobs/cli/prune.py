"""`prune`: delete the server's records of old jobs."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from ..errors import Refused, number_of
from ..spec.durations import parse_duration
from .help import ANSWER_HELP, TARGET_HELP, Command, option
from .job_table import HEADER, OPTIONAL, rows_of
from .options import target_options
from .output import notify
from .runner import for_each_job, with_session
from .statuses import statuses_option
from .table import print_table

if TYPE_CHECKING:
    from ..session import Session
    from ..spec.job_info import JobInfo
    from ..target.options import TargetOptions


@click.command("prune", cls=Command, epilog=TARGET_HELP + ANSWER_HELP)
@option("--older-than", metavar="TIME", required=True, help="Jobs that ended longer ago than this: 12h, 7d, 4w.")
@statuses_option()
@option("--user", metavar="NAME", help="Jobs of this user (default: yours).")
@option("--all-users", is_flag=True, help="Jobs of all users and of other clients.")
@option("--dry-run", is_flag=True, help="Show the jobs; delete nothing.")
@option("-y", "--yes", is_flag=True, help="Do not ask. Required without a terminal.")
@target_options
def prune_command(
    older_than: str,
    statuses: tuple[str, ...],
    user: str | None,
    all_users: bool,
    dry_run: bool,
    yes: bool,
    target_options: TargetOptions,
) -> None:
    """Delete the server's records of your jobs that ended long ago. Log files stay on the node.

    A job is yours if `rayjobs` submitted it with your name. Running and waiting jobs are never deleted.

    \b
    Examples:
      rayjobs prune --older-than 7d --dry-run
      rayjobs prune --older-than 7d --yes
      rayjobs prune --older-than 4w --all-users --status FAILED
    """
    from ..user import user_for_cluster

    if user is not None and all_users:
        raise click.UsageError("--user and --all-users cannot be used together.")
    seconds = parse_duration(older_than, "--older-than")
    owner = user if user is not None else user_for_cluster()
    if not owner and not all_users:
        raise Refused("Your jobs have no name on the cluster (RAYJOBS_USER is empty).", "Use --user or --all-users.")

    async def read(session: Session) -> list[JobInfo]:
        return await session.watcher.list_jobs()

    before = (time.time() - seconds) * 1000
    old = [
        job
        for job in with_session(target_options, read, record=False)
        if job.ended and not job.is_driver and (job.end_time or job.start_time or before) < before
        if not statuses or job.status in statuses
    ]
    jobs = [job for job in old if all_users or job.user == owner]
    if len(old) > len(jobs):
        notify(
            f"{number_of(len(old) - len(jobs), 'job')} of others ended more than {older_than} ago too (--all-users)."
        )
    if not jobs:
        notify("Nothing to delete.")
        return
    if dry_run:
        print_table(HEADER, rows_of(jobs), optional=OPTIONAL)
        return
    if not yes:
        if not sys.stdin.isatty():
            raise Refused(
                f"{number_of(len(jobs), 'record')} would be deleted, and there is no terminal to ask.", "Use --yes."
            )
        print_table(HEADER, rows_of(jobs), optional=OPTIONAL)
        click.confirm(f"Delete the records of {number_of(len(jobs), 'job')}?", abort=True, err=True)

    async def delete(session: Session, submission_id: str) -> str:
        await session.delete(submission_id)
        return "deleted"

    for_each_job(target_options, tuple(job.submission_id for job in jobs), delete)
