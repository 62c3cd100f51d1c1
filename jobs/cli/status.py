"""`status ID...`: jobs as the server has them now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .help import ANSWER_HELP, TARGET_HELP, Command, id_argument
from .options import output_option, target_options
from .output import local_time, print_fields, print_json
from .runner import with_session

if TYPE_CHECKING:
    from ..session import Session
    from ..spec.job_info import JobInfo
    from ..target.options import TargetOptions


@click.command("status", cls=Command, epilog=TARGET_HELP + ANSWER_HELP)
@id_argument("submission_ids", metavar="ID...", nargs=-1, required=True)
@output_option
@target_options
def status_command(submission_ids: tuple[str, ...], output: str, target_options: TargetOptions) -> None:
    """Show jobs as the server has them now. The exit code does not depend on how they ended.

    \b
    Examples:
      rayjobs status raysubmit_1f0c
      rayjobs status ID1 ID2 --output json | jq '.[].status'
    """

    async def read(session: Session) -> list[JobInfo]:
        return await session.get_jobs(submission_ids)

    jobs = with_session(target_options, read)
    if output == "json":
        print_json(jobs[0].as_json() if len(jobs) == 1 else [job.as_json() for job in jobs])
        return
    for job in jobs:
        print_job(job)


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
