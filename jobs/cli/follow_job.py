"""Runs one job from submission to exit code, for `submit` and `rerun`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import click

from ..errors import Interrupted, JobsError, command
from .kept import LogRequest, print_kept_log, result_of
from .output import notify, outcome_text, print_json, report_end, write_stderr, write_stdout
from .runner import detached, end_of_log, pending_explained, run

if TYPE_CHECKING:
    from ..retries import RetryPolicy
    from ..session import Session
    from ..spec.job_info import Result
    from ..spec.time_limits import TimeLimits
    from ..submit import PreparedJob
    from ..target.options import TargetOptions
    from .submit_options import RunFlags


def submit_and_follow(
    target_options: TargetOptions,
    prepare: Callable[[], Awaitable[PreparedJob]],
    options: RunFlags,
    policy: RetryPolicy,
) -> None:
    """Submits the job of `prepare`, follows it through the attempts that `policy` allows, and exits with its result."""
    from ..packages import own_output_notice
    from ..session import open_session
    from ..target.resolve import resolve

    state = SubmissionState(options)
    target = resolve(target_options, notify=notify)

    async def main() -> Result | None:
        first = state.prepared = await prepare()
        if notice := own_output_notice(first.plans):
            notify(notice)
        async with open_session(
            target, ledger=target_options.ledger, notify=notify, patience=options.patience
        ) as session:
            state.sending = True
            return await _run_attempts(
                policy, first, lambda prepared: _run_attempt(session, prepared, prepare, state), state
            )

    try:
        result = run(main)
    except Interrupted as interrupted:
        raise state.explain(interrupted) from None
    if result is None:
        _print_accepted(state)
        return
    report_end(result, state.log_end)
    if options.output == "json":
        print_json(result.as_json())
    raise SystemExit(result.exit_code)


@dataclass
class SubmissionState:
    """The state of a submission; decides the message after an interrupt.

    Attributes:
        stopped_as: The status of the job after --stop-on-interrupt.
        log_end: The end of the log of the last attempt, if it failed.
    """

    options: RunFlags
    prepared: PreparedJob | None = None
    sending: bool = False
    accepted: bool = False
    stopped_as: str = ""
    log_end: str = ""
    # The first attempt begins with the command, so that --start-timeout counts its upload.
    attempt_began: float = field(default_factory=time.monotonic)

    def begin_attempt(self, prepared: PreparedJob) -> None:
        if self.accepted:
            self.attempt_began = time.monotonic()
        self.prepared, self.accepted = prepared, False

    def limits(self) -> TimeLimits:
        from ..spec.time_limits import TimeLimits

        options = self.options
        elapsed = time.monotonic() - self.attempt_began
        return TimeLimits(options.queue_timeout, options.start_timeout, options.timeout, elapsed=elapsed)

    def explain(self, interrupted: Interrupted) -> Interrupted:
        """Returns the interrupt with the state of the job."""
        terminated = interrupted.terminated
        if self.prepared is None or not self.sending:
            return Interrupted("Interrupted; nothing was submitted.", terminated=terminated)
        submission_id = self.prepared.submission_id
        if self.stopped_as:
            return Interrupted(f"Interrupted; job {submission_id} ended: {self.stopped_as}.", terminated=terminated)
        if self.accepted:
            return detached(interrupted, submission_id)
        return Interrupted(
            f"Interrupted while submitting {submission_id}: it may or may not have been accepted.",
            f"{command(f'status {submission_id}')} shows whether it was. The same command with "
            f"--submission-id {submission_id} does not start it twice.",
            terminated=terminated,
        )


async def _run_attempts(
    policy: RetryPolicy,
    first: PreparedJob,
    run_attempt: Callable[[PreparedJob], Awaitable[tuple[PreparedJob, Result | None]]],
    state: SubmissionState,
) -> Result | None:
    """Runs the attempts and returns the last result; None if it was not followed. Each attempt has its own id, linked
    to the first."""
    from ..retries import attempt_id, judge

    prepared, attempts = first, 0
    while True:
        prepared, result = await run_attempt(prepared)
        attempts += 1
        if result is None:
            return None
        verdict = judge(policy, result, attempts)
        if not verdict.again:
            return result
        notify(f"{outcome_text(result, state.log_end)} Trying again, because {verdict.why}.")
        base = first.submission_id
        origin = replace(first.origin, attempt_of=base, attempt=attempts)
        # An earlier run of the same command may have submitted this attempt.
        prepared = replace(prepared, submission_id=attempt_id(base, attempts), origin=origin, may_exist=True)


async def _run_attempt(
    session: Session,
    prepared: PreparedJob,
    prepare: Callable[[], Awaitable[PreparedJob]],
    state: SubmissionState,
) -> tuple[PreparedJob, Result | None]:
    """Returns the job as it was sent, and its result."""
    options = state.options
    state.begin_attempt(prepared)
    prepared, submission = await session.submit_or_prepare_again(prepared, prepare, seconds=options.submit_timeout)
    state.prepared, state.accepted = prepared, True
    how = "exists already; attached to it" if submission.attached else "submitted"
    notify(f"Job {submission.submission_id}: {how}.")
    if options.no_wait:
        return prepared, None
    write = write_stdout if options.output == "text" else write_stderr
    written = 0

    def count(piece: bytes) -> None:
        nonlocal written
        written += len(piece)
        write(piece)

    try:
        async with pending_explained(session):
            result = await session.run_to_end(submission.submission_id, count, limits=state.limits())
        if submission.submission_id in session.gone_logs:
            result = await _finish_from_keeper(session, result, LogRequest(write, written, is_rest=written > 0))
        state.log_end = await end_of_log(session, result)
        return prepared, result
    except asyncio.CancelledError:
        if options.stop_on_interrupt:
            await _stop(session, prepared.submission_id, state)
        raise


async def _finish_from_keeper(session: Session, result: Result, rest: LogRequest) -> Result:
    """Writes the rest of a log that Ray could not give. Returns the result, of a lost job as it was kept."""
    from ..spec.job_info import LOST

    is_lost = result.status == LOST
    kept = await print_kept_log(session.connection.target, result.submission_id, rest, forgotten=is_lost)
    if kept is None or not is_lost:
        return result
    known = result_of(kept[0])
    if session.recorder is not None and known.info is not None and known.status != LOST:
        session.recorder.record_jobs([known.info])
    return known


async def _stop(session: Session, submission_id: str, state: SubmissionState) -> None:
    notify(f"Interrupted: stopping job {submission_id}. A second Ctrl-C leaves it running.")
    try:
        state.stopped_as = (await session.stop(submission_id)).status
    except JobsError as error:
        notify(f"Could not stop job {submission_id}: {error}")


def _print_accepted(state: SubmissionState) -> None:
    assert state.prepared is not None
    submission_id, digest = state.prepared.submission_id, state.prepared.spec.digest
    if state.options.output == "json":
        print_json({"submission_id": submission_id, "spec_sha256": digest})
    else:
        click.echo(submission_id)
