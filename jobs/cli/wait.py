"""`wait ID...`: until jobs have ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from ..errors import JobsError, UnknownJob, worst_exit_code
from .help import RESULT_HELP, TARGET_HELP, Command, id_argument, option
from .kept import find_ended, find_kept, forgotten_of, record_kept, result_of, say_from_keeper
from .options import output_option, patience_option, target_options
from .output import notify, print_json, report_end
from .runner import end_of_log, pending_explained, with_session

if TYPE_CHECKING:
    from ..keeper.client import KeptJob
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

    If Ray no longer knows a job, the cluster's keeper says how it ended.

    \b
    Examples:
      rayjobs wait raysubmit_1f0c --timeout 3600
      rayjobs wait ID1 ID2 ID3 && rayjobs submit -- python merge.py
    """
    import asyncio

    from ..deadline import Deadline
    from ..spec.job_info import LOST, Result
    from ..target.resolve import resolve

    target = resolve(target_options, notify=notify)
    reported: set[str] = set()

    async def report(session: Session, result: Result) -> None:
        report_end(result, await end_of_log(session, result))

    async def wait(session: Session) -> list[Result]:
        reports: list[asyncio.Task[None]] = []

        def on_end(job: JobInfo) -> None:
            reported.add(job.submission_id)
            reports.append(asyncio.ensure_future(report(session, Result(job.submission_id, job.status, job))))

        async def wait_for(ids: Sequence[str]) -> list[Result]:
            return await session.wait(ids, deadline=deadline, on_end=on_end) if ids else []

        deadline = Deadline(timeout)
        kept: dict[str, KeptJob] = {}
        forgotten: list[str] = []
        try:
            async with pending_explained(session):
                try:
                    results = await wait_for(submission_ids)
                except UnknownJob:
                    forgotten = await forgotten_of(session, submission_ids)
                    kept = await find_kept(target, forgotten, forgotten=True)
                    if not kept.keys() >= set(forgotten):
                        raise
                    results = await wait_for([each for each in submission_ids if each not in kept])
        finally:
            await asyncio.gather(*reports)
        # Ray forgot these while they were awaited.
        lost = [result.submission_id for result in results if result.status == LOST]
        kept |= await find_kept(target, lost, forgotten=True)
        say_from_keeper(list(kept.values()), forgotten=True)
        record_kept(target_options, kept.values())
        rest = iter(results)
        in_order = [result_of(kept[each]) if each in forgotten else next(rest) for each in submission_ids]
        return [result_of(kept[each.submission_id]) if each.submission_id in kept else each for each in in_order]

    try:
        results = with_session(target_options, wait, patience=patience, target=target)
    except JobsError as error:
        found = find_ended(target, submission_ids, error)
        if found is None:
            raise
        record_kept(target_options, found)
        results = [result_of(job) for job in found]
    if output == "json":
        records = [result.as_json() for result in results]
        print_json(records[0] if len(records) == 1 else records)
    for result in results:
        if result.submission_id not in reported:
            report_end(result)
    raise SystemExit(worst_exit_code(result.exit_code for result in results))
