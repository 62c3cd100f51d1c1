"""One job from submission to exit code, for the commands that submit."""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from ..errors import Interrupted, JobsError
from .jobs import conclude, detached, summary
from .options import print_json, recorder_of, run, say, write_bytes, write_bytes_aside

if TYPE_CHECKING:
    from ..retries import RetryPolicy
    from ..session import Prepared, Session
    from ..spec.job_info import Result
    from ..target.resolve import Options

_RUN_OPTIONS = (
    click.option("--no-wait", is_flag=True, help="Return once the job is accepted; its id is printed to stdout."),
    click.option(
        "--queue-timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Stop it if PENDING for longer."
    ),
    click.option(
        "--start-timeout",
        type=click.FloatRange(min=0),
        metavar="SECONDS",
        help="Stop it if it does not run this long after the command's start, upload included.",
    ),
    click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Stop it if it runs for longer."),
    click.option(
        "--submit-timeout",
        type=click.FloatRange(min=1),
        default=120.0,
        metavar="SECONDS",
        help="For the submission to be accepted (default 120).",
    ),
    click.option("--stop-on-interrupt", is_flag=True, help="Ctrl-C and SIGTERM stop the job instead of detaching."),
    click.option("--no-cache", is_flag=True, help="Read every file of the working directory again."),
)


def run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the flags that `run_job` takes."""
    for option in reversed(_RUN_OPTIONS):
        command = option(command)
    return command


def run_job(
    target_options: Options,
    prepare: Callable[[], Awaitable[Prepared]],
    policy: RetryPolicy,
    *,
    output: str,
    patience: float,
    no_wait: bool,
    queue_timeout: float | None,
    start_timeout: float | None,
    timeout: float | None,
    submit_timeout: float,
    stop_on_interrupt: bool,
) -> None:
    """Submits what `prepare` gives, follows it (through further attempts by `policy`), and exits by its result."""
    import asyncio

    from ..connection import connect
    from ..dashboard.logs import Limits
    from ..session import Session
    from ..target.resolve import resolve

    began = time.monotonic()  # the attempt under way: the first begins with the command
    target = resolve(target_options, note=say)
    phase = Phase()
    write = write_bytes if output == "text" else write_bytes_aside

    async def attempt(session: Session, prepared: Prepared) -> Result | None:
        nonlocal began
        if phase.accepted:
            began = time.monotonic()
        phase.prepared, phase.accepted = prepared, False
        submission = await session.submit(prepared, seconds=submit_timeout)
        phase.accepted = True
        how = "was there already; attached to it" if submission.attached else "submitted"
        say(f"Job {submission.submission_id}: {how}.")
        if no_wait:
            return None
        limits = Limits(queue_timeout, start_timeout, timeout, elapsed=time.monotonic() - began)
        try:
            return await session.run(submission.submission_id, write, limits=limits)
        except asyncio.CancelledError:
            if stop_on_interrupt:
                await phase.stop()
            raise

    async def main() -> Result | None:
        first = phase.prepared = await prepare()
        async with connect(target, note=say) as connection:
            recorder = recorder_of(target, connection.identity, target_options)
            phase.session = session = Session(
                connection, note=say, progress=progress_line(), patience=patience, recorder=recorder
            )
            phase.sending = True
            return await with_retries(policy, first, lambda prepared: attempt(session, prepared))

    try:
        result = run(main)
    except Interrupted as caught:
        raise phase.interrupted(caught) from None
    if result is None:
        assert phase.prepared is not None
        submission_id = phase.prepared.submission_id
        if output == "json":
            print_json({"submission_id": submission_id, "spec_sha256": phase.prepared.spec.digest})
        else:
            click.echo(submission_id)
        return
    if output == "json":
        say(f"Job {result.submission_id} ended: {summary(result)}")
        print_json(result.as_json())
        raise SystemExit(result.exit_code)
    conclude(result)


async def with_retries(
    policy: RetryPolicy, first: Prepared, attempt: Callable[[Prepared], Awaitable[Result | None]]
) -> Result | None:
    """The result of the last attempt that `policy` allows; each has an id of its own, linked to the first."""
    from ..retries import attempt_id, judge

    prepared, made = first, 0
    while True:
        result = await attempt(prepared)
        made += 1
        if result is None:
            return None
        verdict = judge(policy, result, made)
        if not verdict.again:
            return result
        say(f"Job {prepared.submission_id} ended: {summary(result)}; another attempt, since {verdict.why}.")
        base = first.submission_id
        origin = first.origin and replace(first.origin, attempt_of=base, attempt=made)
        # The id may be there from an earlier run of the same command.
        prepared = replace(first, submission_id=attempt_id(base, made), origin=origin, may_exist=True)


class Phase:
    """How far a submission has come, for whoever interrupts it."""

    def __init__(self) -> None:
        self.prepared: Prepared | None = None
        self.session: Session | None = None
        self.sending = False
        self.accepted = False
        self.stopped = ""

    async def stop(self) -> None:
        assert self.session is not None
        assert self.prepared is not None
        say(f"Interrupted: stopping job {self.prepared.submission_id} (again to leave it).")
        try:
            self.stopped = (await self.session.stop(self.prepared.submission_id)).status
        except JobsError as error:
            say(f"It could not be stopped: {error}")

    def interrupted(self, caught: Interrupted) -> Interrupted:
        terminated = caught.exit_code == 143
        if self.prepared is None or not self.sending:
            return Interrupted("Interrupted; nothing was submitted.", terminated=terminated)
        submission_id = self.prepared.submission_id
        if self.stopped:
            return Interrupted(f"Interrupted; job {submission_id} ended: {self.stopped}.", terminated=terminated)
        if self.accepted:
            return detached(caught, submission_id)
        return Interrupted(
            f"Interrupted while submitting {submission_id}: it may or may not have been accepted.",
            f"`status {submission_id}` tells; the same command with --submission-id {submission_id} cannot start it "
            "twice.",
            terminated=terminated,
        )


def progress_line() -> Callable[[int, int], None]:
    """An upload's progress on stderr: a line that is written over at a terminal, a few plain lines otherwise."""
    at_terminal = sys.stderr.isatty()
    last = 0.0 if at_terminal else time.monotonic()

    def progress(sent: int, total: int) -> None:
        nonlocal last
        done, now = sent >= total, time.monotonic()
        if now - last < (0.1 if at_terminal else 5.0) and not (done and at_terminal):
            return
        last = now
        text = f"  {sent / 1024**2:.1f} of {total / 1024**2:.1f} MiB ({100 * sent // max(1, total)} %)"
        click.echo(f"\r{text}" if at_terminal else text, err=True, nl=done or not at_terminal)

    return progress
