"""`wait ID...`: until jobs have ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..errors import worst_exit_code
from .help import RESULT_HELP, TARGET_HELP, Command, id_argument, option
from .options import output_option, patience_option, target_options
from .output import print_json, report_end
from .runner import end_of_log, pending_explained, with_session

if TYPE_CHECKING:
    from ..session import Session
    from ..spec.job_info import JobInfo
    from ..target.options import TargetOptions


@click.command("wait", cls=Command, epilog=TARGET_HELP + RESULT_HELP)
@id_argument("submission_ids", metavar="ID...", nargs=-1, required=True)
@option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Give up after this; the jobs keep running.")
@patience_option
@output_option
@target_options
def wait_command(
    submission_ids: tuple[str, ...], timeout: float | None, patience: float, output: str, target_options: TargetOptions
) -> None:
    """Wait until jobs have ended. Exit with the result of the job, or the worst of several.

    \b
    Examples:
      rayjobs wait raysubmit_1f0c --timeout 3600
      rayjobs wait ID1 ID2 ID3 && rayjobs submit -- python merge.py
    """
    import asyncio

    from ..deadline import Deadline
    from ..spec.job_info import Result

    reported: set[str] = set()

    async def report(session: Session, result: Result) -> None:
        report_end(result, await end_of_log(session, result))

    async def wait(session: Session) -> list[Result]:
        reports: list[asyncio.Task[None]] = []

        def on_end(job: JobInfo) -> None:
            reported.add(job.submission_id)
            reports.append(asyncio.ensure_future(report(session, Result(job.submission_id, job.status, job))))

        try:
            async with pending_explained(session):
                return await session.wait(submission_ids, deadline=Deadline(timeout), on_end=on_end)
        finally:
            await asyncio.gather(*reports)

    results = with_session(target_options, wait, patience=patience)
    if output == "json":
        records = [result.as_json() for result in results]
        print_json(records[0] if len(records) == 1 else records)
    for result in results:
        if result.submission_id not in reported:
            report_end(result)
    raise SystemExit(worst_exit_code(result.exit_code for result in results))
