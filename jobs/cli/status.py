"""`status ID...`: jobs as the server has them now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..errors import JobsError, UnknownJob
from ..spec.job_info import JobInfo
from .help import ANSWER_HELP, TARGET_HELP, Command, id_argument
from .kept import find_ended, find_kept, forgotten_of, say_from_keeper
from .options import output_option, target_options
from .output import local_time, notify, print_fields, print_json, print_text
from .runner import with_session

if TYPE_CHECKING:
    from ..keeper.client import KeptJob
    from ..session import Session
    from ..target.options import TargetOptions


@click.command("status", cls=Command, epilog=TARGET_HELP + ANSWER_HELP)
@id_argument("submission_ids", metavar="ID...", nargs=-1, required=True)
@output_option
@target_options
def status_command(submission_ids: tuple[str, ...], output: str, target_options: TargetOptions) -> None:
    """Show jobs as the server has them now. The exit code does not depend on how they ended.

    If Ray no longer knows a job, the cluster's keeper answers, and a line on stderr says so.

    \b
    Examples:
      rayjobs status raysubmit_1f0c
      rayjobs status ID1 ID2 --output json | jq '.[].status'
    """
    from ..target.resolve import resolve

    target = resolve(target_options, notify=notify)

    async def read(session: Session) -> list[JobInfo | KeptJob]:
        try:
            return [*await session.get_jobs(submission_ids)]
        except UnknownJob:
            forgotten = await forgotten_of(session, submission_ids)
            kept = await find_kept(target, forgotten, forgotten=True)
            if not kept.keys() >= set(forgotten):
                raise
            say_from_keeper(list(kept.values()), forgotten=True)
            known = [each for each in submission_ids if each not in kept]
            jobs = dict(zip(known, await session.get_jobs(known) if known else [], strict=True))
            return [kept.get(each) or jobs[each] for each in submission_ids]

    try:
        jobs = with_session(target_options, read, target=target)
    except JobsError as error:
        kept = find_ended(target, submission_ids, error)
        if kept is None:
            raise
        jobs = [*kept]
    if output == "json":
        records = [(job if isinstance(job, JobInfo) else job.info).as_json() for job in jobs]
        print_json(records[0] if len(records) == 1 else records)
        return
    for job in jobs:
        if isinstance(job, JobInfo):
            print_job(job)
        else:
            print_kept_job(job)


def print_kept_job(job: KeptJob) -> None:
    """Prints a job that a keeper has: what `status` prints, why it failed, and the times of its statuses."""
    print_job(job.info)
    print_fields([("user", job.entry.user), ("why", job.reason)])
    for status, at in job.entry.changes:
        print_text(f"  {local_time(at)}  {status}")


def print_job(job: JobInfo) -> None:
    """Prints a job on a few lines."""
    job = job.shown()
    print_fields(
        [
            ("job", job.submission_id),
            ("status", job.status),
            ("entrypoint", job.entrypoint),
            ("started", local_time(job.start_time and job.start_time / 1000)),
            ("ended", local_time(job.end_time and job.end_time / 1000)),
            ("exit code", job.driver_exit_code),
            ("error", job.error_type),
            ("message", job.message),
            ("metadata", ", ".join(f"{key}={value}" for key, value in job.user_metadata.items())),
        ]
    )
