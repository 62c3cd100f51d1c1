"""Runs a command: event loop, signals, the session, and errors as exit codes."""

from __future__ import annotations

import gc
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

import click

from ..errors import EXIT_INTERRUPTED, EXIT_REFUSED, EXIT_TERMINATED, Interrupted, JobsError, command
from .output import notify, print_error

if TYPE_CHECKING:
    from ..ledger.store import Ledger
    from ..session import Session
    from ..spec.job_info import Result
    from ..target.options import TargetOptions
    from ..target.resolve import Target

T = TypeVar("T")

# How many jobs are stopped or deleted at once.
CONCURRENCY = 8


def run(main: Callable[[], Awaitable[T]]) -> T:
    """Runs `main` in an event loop. Ctrl-C, SIGTERM and SIGHUP cancel it and are raised as Interrupted.

    `main` may do a last thing when it is cancelled, such as stopping a job; a second signal cancels that too.
    """
    import asyncio

    from ..background import DetachedThreads

    gc.enable()
    received: list[int] = []

    async def body() -> T:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(DetachedThreads())
        task = asyncio.ensure_future(main())

        def interrupt(number: int) -> None:
            received.append(number)
            task.cancel()

        for number in (signal.SIGINT, *terminating_signals()):
            loop.add_signal_handler(number, interrupt, number)
        return await task

    try:
        return asyncio.run(body())
    except asyncio.CancelledError:
        terminated = bool(received) and received[0] != signal.SIGINT
        raise Interrupted("Interrupted.", terminated=terminated) from None


def with_session(
    options: TargetOptions,
    work: Callable[[Session], Awaitable[T]],
    *,
    patience: float = 300.0,
    record: bool = True,
    target: Target | None = None,
) -> T:
    """Opens a session at the target and returns the result of `work` in it.

    Args:
        options: The options of the target.
        work: What is done.
        patience: See `open_session`.
        record: See `open_session`.
        target: What `resolve` returned for the options; None: it is resolved here.
    """
    from ..session import open_session
    from ..target.resolve import resolve

    target = target or resolve(options, notify=notify)

    async def main() -> T:
        async with open_session(
            target, ledger=options.ledger, record=record, notify=notify, patience=patience
        ) as session:
            return await work(session)

    return run(main)


@asynccontextmanager
async def pending_explained(session: Session) -> AsyncIterator[None]:
    """The status line says why a job that is waited for is still PENDING."""
    from ..diagnose.pending import PendingReasons

    reasons = PendingReasons(session.connection)
    session.describe = reasons.describe
    try:
        yield
    finally:
        await reasons.close()


async def end_of_log(session: Session, result: Result) -> str:
    """Returns the end of the log of a job that failed, which says why; empty for any other job."""
    if result.status != "FAILED":
        return ""
    from ..diagnose.ending import end_of_failed_job

    return await end_of_failed_job(session.client, result.info)


def for_each_job(
    options: TargetOptions, submission_ids: tuple[str, ...], act: Callable[[Session, str], Awaitable[str]]
) -> None:
    """Does `act` for several jobs at a time and prints what it returns. Exits with the highest code of the failures."""
    import asyncio

    async def work(session: Session) -> list[int]:
        gate = asyncio.Semaphore(CONCURRENCY)

        async def act_on(submission_id: str) -> int:
            async with gate:
                try:
                    notify(f"Job {submission_id}: {await act(session, submission_id)}.")
                except JobsError as error:  # The others are still done.
                    print_error(f"Error: {error}")
                    return error.exit_code
            return 0

        return await asyncio.gather(*map(act_on, dict.fromkeys(submission_ids)))

    code = max(with_session(options, work))
    if code:
        raise SystemExit(code)


def open_ledger(path: str | None) -> Ledger:
    """Opens the ledger at a path, or this user's."""
    from ..ledger.store import Ledger

    return Ledger(path, notify)


def detached(interrupted: Interrupted, submission_id: str) -> Interrupted:
    """Returns the interrupt of a command that leaves its job running."""
    return Interrupted(
        f"Detached. Job {submission_id} keeps running.",
        f"{command(f'logs --follow {submission_id}')} follows it again, {command(f'stop {submission_id}')} stops it.",
        terminated=interrupted.terminated,
    )


def report(error: BaseException) -> int:
    """Prints an error and returns its exit code. Raises what is not for the user."""
    if isinstance(error, JobsError):
        print_error(str(error) if isinstance(error, Interrupted) else f"Error: {error}")
        return error.exit_code
    if isinstance(error, KeyboardInterrupt | click.exceptions.Abort):
        print_error("Interrupted.")
        return EXIT_INTERRUPTED
    if isinstance(error, click.ClickException):
        error.show()
        return EXIT_REFUSED
    raise error


def terminating_signals() -> list[signal.Signals]:
    """Returns SIGTERM, and SIGHUP of a terminal that is closed; under nohup, SIGHUP stays ignored."""
    hangup = [] if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [signal.SIGHUP]
    return [signal.SIGTERM, *hangup]


def on_sigterm(_number: int, _frame: object) -> None:
    """Exits at a signal that comes before there is an event loop."""
    raise SystemExit(EXIT_TERMINATED)
