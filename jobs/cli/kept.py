"""What answers for a job that Ray has forgotten, or whose log is gone with its node.

The order is decided here: first the keeper of the cluster, if the target has one. It has the whole log, every status,
and the jobs of all machines. Then the local job history (see ledger_log). It has what this machine saw, and at most the
last 1 MiB of a log.

If Ray does not answer at all, a kept job counts only if it has ended: otherwise nobody knows how it is now.

A keeper that cannot be asked costs one line on stderr and a few seconds. The command goes on as without one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from ..activity import activity
from ..deadline import Deadline, bounded
from ..errors import JobLost, JobsError, LocalFault, NotAllowed, NotThere, UnknownJob, Unreachable, number_of
from ..spec.job_info import LOST, TERMINAL, Result
from .output import notify
from .runner import open_ledger, run

if TYPE_CHECKING:
    from ..keeper.client import KeeperApi, KeptJob
    from ..session import Session
    from ..target.options import TargetOptions
    from ..target.resolve import Target

T = TypeVar("T")

# How long the way to the keeper may take, and then each question.
KEEPER_SECONDS = 10.0
# The keeper records a job as lost a few seconds after a command does.
SETTLE_SECONDS = 15.0


def is_for_keeper(error: JobsError) -> bool:
    """Whether a keeper may know more than Ray: Ray does not know the job, or does not answer."""
    return isinstance(error, UnknownJob | JobLost | NotThere | Unreachable) and not isinstance(error, NotAllowed)


def is_forgotten(error: JobsError) -> bool:
    """Whether Ray answered, and does not know the job."""
    return isinstance(error, UnknownJob | JobLost)


async def ask_keeper(target: Target, work: Callable[[KeeperApi], Awaitable[T]]) -> T | None:
    """Returns what `work` finds at the target's keeper; None if there is no keeper, or it cannot be asked.

    Raises LocalFault if `work` does.
    """
    from ..keeper.reach import has_keeper, reach_keeper

    if not has_keeper(target):
        return None
    async with AsyncExitStack() as stack:
        try:
            with activity(f"Looking for the keeper of {target.name}"):
                opening = stack.enter_async_context(reach_keeper(target))
                keeper = await bounded(opening, KEEPER_SECONDS)
        except asyncio.TimeoutError:
            notify(f"The keeper of {target.name} could not be asked: no way to it within {KEEPER_SECONDS:.0f} s.")
            return None
        except JobsError as error:
            _not_asked(target, error)
            return None
        try:
            return await work(keeper)
        except LocalFault:
            raise  # What was read cannot be written here.
        except JobsError as error:
            _not_asked(target, error)
            return None


def _not_asked(target: Target, error: JobsError) -> None:
    notify(f"The keeper of {target.name} could not be asked: {error.message}")


async def find_kept(target: Target, submission_ids: Sequence[str], *, forgotten: bool) -> dict[str, KeptJob]:
    """Finds jobs at the target's keeper.

    Args:
        target: The Ray cluster.
        submission_ids: The jobs.
        forgotten: Ray answered and does not know them. Then jobs that the keeper has as not ended are awaited for a
            few seconds: they are about to become LOST.
    """

    async def work(keeper: KeeperApi) -> dict[str, KeptJob]:
        until = _settled(forgotten)
        found = {each: await _look(keeper, each, until) for each in submission_ids}
        return {submission_id: job for submission_id, job in found.items() if job is not None}

    return (await ask_keeper(target, work) or {}) if submission_ids else {}


def find_ended(target: Target, submission_ids: Sequence[str], error: JobsError) -> list[KeptJob] | None:
    """Finds jobs at the keeper if Ray does not answer, and says so. None: `error` stands, because not all of them have
    ended."""
    if not is_for_keeper(error) or is_forgotten(error):
        return None
    kept = run(lambda: find_kept(target, submission_ids, forgotten=False))
    jobs = [kept[each] for each in submission_ids if each in kept and kept[each].entry.ended]
    if len(jobs) < len(submission_ids):
        return None
    notify(f"Ray does not answer: {error.message}")
    say_from_keeper(jobs, forgotten=False)
    return jobs


def say_from_keeper(jobs: Sequence[KeptJob], *, forgotten: bool) -> None:
    """Says on stderr where an answer comes from."""
    if jobs:
        why = f"Ray no longer knows {', '.join(job.entry.submission_id for job in jobs)}. " if forgotten else ""
        notify(f"{why}This is what {jobs[0].keeper} kept:")


def _settled(forgotten: bool) -> Deadline:
    """Returns when the keeper has recorded the end of a job that Ray has forgotten."""
    return Deadline(SETTLE_SECONDS if forgotten else 0.0)


async def _look(keeper: KeeperApi, submission_id: str, until: Deadline) -> KeptJob | None:
    with activity(f"Waiting until {keeper.where} has recorded the end of job {submission_id}", until):
        while True:
            job = await keeper.job(submission_id, KEEPER_SECONDS)
            if job is None or job.entry.ended or until.passed:
                return job
            await asyncio.sleep(1)


async def forgotten_of(session: Session, submission_ids: Sequence[str]) -> list[str]:
    """Returns those of the jobs that Ray does not know. It knows all of them but one at the least."""
    if len(submission_ids) == 1:
        return list(submission_ids)
    known = {job.submission_id for job in await session.watcher.list_jobs()}
    return [each for each in submission_ids if await session.submission_id_of(each) not in known]


def result_of(job: KeptJob) -> Result:
    """Returns how a job ended that Ray has forgotten: as it was kept; LOST if its end was not seen."""
    status = job.entry.status
    return Result(job.entry.submission_id, status if status in TERMINAL else LOST, job.info)


def record_kept(options: TargetOptions, jobs: Iterable[KeptJob]) -> None:
    """Records in the local job history how these jobs ended, if it has them."""
    ledger = open_ledger(options.ledger)
    for entry in (job.entry for job in jobs if job.entry.status in TERMINAL):
        ledger.record_status(
            entry.submission_id,
            entry.place.identity,
            entry.status,
            driver_exit_code=entry.driver_exit_code,
            error_type=entry.error_type,
        )


@dataclass(frozen=True)
class LogRequest:
    """Which bytes of a log are wanted, and where they go.

    Attributes:
        write: Called with the bytes.
        offset: The first byte.
        lines: Only so many last lines; None: all.
        since: Only from the first line with a time that is not before this, in seconds since the epoch.
        is_rest: The bytes before `offset` came from Ray.
    """

    write: Callable[[bytes], None]
    offset: int = 0
    lines: int | None = None
    since: float | None = None
    is_rest: bool = False


async def print_kept_log(
    target: Target, submission_id: str, wanted: LogRequest, *, forgotten: bool
) -> tuple[KeptJob, bool] | None:
    """Writes the kept log of a job, and says on stderr where it comes from.

    Returns:
        The job, and whether the keeper has a log of it. None: there is no keeper that has the job.
    """

    async def work(keeper: KeeperApi) -> tuple[KeptJob, bool] | None:
        job = await _look(keeper, submission_id, _settled(forgotten))
        if job is None:
            return None
        extent = await keeper.log_extent(submission_id)
        if extent is None:
            notify(f"{_capital(job.keeper)} has job {submission_id} ({job.entry.status}), but no log of it.")
            return job, False
        if wanted.is_rest:
            notify(f"From byte {wanted.offset} on, the log is what {job.keeper} kept:")
        else:
            say_from_keeper([job], forgotten=forgotten)
        await _write_log(keeper, submission_id, wanted)
        return job, True

    return await ask_keeper(target, work)


async def _write_log(keeper: KeeperApi, submission_id: str, wanted: LogRequest) -> None:
    from ..dashboard.log_end import LastLines, LinesSince

    if wanted.lines is not None and wanted.since is None:
        wanted.write(await keeper.last_lines(submission_id, wanted.lines))
        return
    last = None if wanted.lines is None else LastLines(wanted.lines)
    later = None if wanted.since is None else LinesSince(wanted.since)
    async with aclosing(keeper.log(submission_id, wanted.offset, on_gap=_notify_gap)) as pieces:
        async for piece in pieces:
            piece = later.add(piece) if later else piece
            if last is not None:
                last.add(piece)
            elif piece:
                wanted.write(piece)
    if last is not None:
        wanted.write(last.data)


def _notify_gap(gap: tuple[int, int]) -> None:
    notify(f"{number_of(gap[1] - gap[0], 'byte')} of the log are not kept: {gap[0]} to {gap[1] - 1}.")


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
