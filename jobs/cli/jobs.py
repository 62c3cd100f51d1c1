"""Commands on jobs that exist: status, list, logs, wait, stop, delete."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from ..errors import Interrupted, JobsError
from .options import (
    ANSWER_HELP,
    EXIT_HELP,
    STOP_HELP,
    TARGET_HELP,
    complain,
    output_option,
    patience_option,
    print_json,
    say,
    target_options,
    with_session,
    write_bytes,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..session import Session
    from ..spec.job_info import JobInfo, Result
    from ..target.resolve import Options

# How many jobs are stopped or deleted at once.
AT_A_TIME = 8


@click.command("status")
@click.argument("submission_ids", metavar="ID...", nargs=-1, required=True)
@output_option
@target_options
def status_command(submission_ids: tuple[str, ...], output: str, target_options: Options) -> None:
    """Show jobs as the server has them now. Exits 0 whenever it could answer.

    \b
    Examples:
      jobs status raysubmit_1f0c
      jobs status ID1 ID2 --output json | jq '.[].status'
    """

    async def work(session: Session) -> list[JobInfo]:
        if len(submission_ids) == 1:
            return [session.saw(await session.client.get(submission_ids[0]))]
        return [session.saw(info) for info in await session.client.get_many(submission_ids)]

    jobs = with_session(target_options, work)
    if output == "json":
        print_json(jobs[0].as_json() if len(jobs) == 1 else [job.as_json() for job in jobs])
        return
    for job in jobs:
        click.echo(describe(job))


status_command.epilog = TARGET_HELP + ANSWER_HELP


def describe(job: JobInfo) -> str:
    """A job on a few lines."""
    job = job.shown()
    fields = [
        ("job", job.submission_id),
        ("status", job.status),
        ("entrypoint", job.entrypoint),
        ("started", when(job.start_time)),
        ("ended", when(job.end_time)),
        ("exit code", job.driver_exit_code),
        ("error", job.error_type),
        ("message", job.message),
        ("metadata", ", ".join(f"{key}={value}" for key, value in job.user_metadata.items())),
    ]
    return "\n".join(f"{name + ':':<12}{value}" for name, value in fields if value not in (None, ""))


def when(milliseconds: int | None) -> str:
    """A time of the server's, in this machine's zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(milliseconds / 1000)) if milliseconds else ""


@click.command("list")
@click.option("--status", "statuses", multiple=True, metavar="STATUS", help="Only this status (repeatable).")
@click.option("--metadata", "wanted", multiple=True, metavar="KEY=VALUE", help="Only with this metadata (repeatable).")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the N newest.")
@click.option("--all", "drivers", is_flag=True, help="Drivers that were not submitted as jobs too.")
@output_option
@target_options
def list_command(
    statuses: tuple[str, ...],
    wanted: tuple[str, ...],
    limit: int | None,
    drivers: bool,
    output: str,
    target_options: Options,
) -> None:
    """List the jobs that the server knows, oldest first. Exits 0 whenever it could answer.

    \b
    Examples:
      jobs list
      jobs list --status RUNNING --status PENDING
      jobs list --metadata team=search --output json
    """
    pairs = [each.partition("=") for each in wanted]
    for key, equals, _ in pairs:
        if not equals or not key:
            raise click.UsageError("--metadata is written KEY=VALUE.")

    async def work(session: Session) -> list[JobInfo]:
        return await session.client.list(settle=True)

    names = {status.upper() for status in statuses}
    chosen = [
        job
        for job in with_session(target_options, work, record=False)
        if (drivers or job.type == "SUBMISSION")
        and (not names or job.status in names)
        and all(job.metadata.get(key) == value for key, _, value in pairs)
    ]
    chosen = chosen[-limit:] if limit else chosen
    if output == "json":
        print_json([job.as_json() for job in chosen])
        return
    rows = [
        (
            job.submission_id,
            job.status,
            when(job.start_time),
            elapsed(job),
            " ".join(job.shown().entrypoint.split())[:60],
        )
        for job in chosen
    ]
    table([("ID", "STATUS", "STARTED", "SECONDS", "ENTRYPOINT"), *rows])


list_command.epilog = TARGET_HELP + ANSWER_HELP


def elapsed(job: JobInfo) -> str:
    if job.start_time is None:
        return ""
    return f"{((job.end_time or time.time() * 1000) - job.start_time) / 1000:.0f}"


def table(rows: list[tuple[str, ...]]) -> None:
    """Columns as wide as their longest cell; the last one is not padded."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())


@click.command("logs")
@click.argument("submission_id", metavar="ID")
@click.option("-f", "--follow", is_flag=True, help="To the job's end; exits by its result.")
@click.option("--offset", type=click.IntRange(min=0), default=0, metavar="BYTES", help="Leave out the first BYTES.")
@patience_option
@target_options
def logs_command(submission_id: str, follow: bool, offset: int, patience: float, target_options: Options) -> None:
    """Print a job's log to stdout, byte for byte.

    With --follow every byte comes once and in order, through dropped connections, until the job has ended and its log
    is drained; the exit code is then the job's. Ctrl-C leaves the job running.

    \b
    Examples:
      jobs logs raysubmit_1f0c > job.log
      jobs logs --follow raysubmit_1f0c
    """

    printed = 0

    def write(piece: bytes) -> None:
        nonlocal printed
        printed += len(piece)
        write_bytes(piece)

    async def work(session: Session) -> Result | None:
        if follow:
            return await session.run(submission_id, write, seen=False, offset=offset)
        await session.print_log(submission_id, write, offset=offset)
        return None

    try:
        result = with_session(target_options, work, patience=patience)
    except Interrupted as caught:
        raise detached(caught, submission_id) from None
    except JobsError as error:
        # What this machine kept of the log outlives the cluster; what was printed is not printed again.
        kept = None if printed else print_kept(submission_id, target_options)
        if kept is None:
            raise
        complain(f"Error: {error}")
        raise SystemExit(error.exit_code if follow or not kept else 0) from None
    if result is not None:
        conclude(result)


def print_kept(submission_id: str, target_options: Options) -> bool | None:
    """The end of the log from the ledger: whether it is of the job of this target; None where there is none.

    Ids that people choose may be the same on two clusters: one of another cluster is said to be so.
    """
    from ..connection import identity_of
    from ..target.resolve import resolve
    from .history import open_ledger, print_kept_log

    try:
        identity: str | None = identity_of(resolve(target_options))
    except JobsError:
        identity = None  # Nothing says where the job was: the newest of this id.
    ledger = open_ledger(target_options.ledger)
    try:
        return print_kept_log(ledger, submission_id, identity)
    except JobsError:
        return None


logs_command.epilog = TARGET_HELP + EXIT_HELP


def detached(caught: Interrupted, submission_id: str) -> Interrupted:
    return Interrupted(
        f"Detached; job {submission_id} goes on.",
        f"`logs --follow {submission_id}` attaches again, `stop {submission_id}` stops it.",
        terminated=caught.exit_code == 143,
    )


def conclude(result: Result) -> None:
    """Says how the job ended and exits by it."""
    say(f"Job {result.submission_id} ended: {summary(result)}")
    raise SystemExit(result.exit_code)


def summary(result: Result) -> str:
    text = result.status
    if result.driver_exit_code not in (None, 0):
        text += f", exit code {result.driver_exit_code}"
    if result.error_type:
        text += f", {result.error_type}"
    if result.status == "FAILED" and result.message:
        # The message repeats the log's end; its first line is what is new.
        text += f": {result.message.strip().splitlines()[0][:300]}"
    if result.status == "LOST":
        text += f" (the server no longer knows it; `rerun {result.submission_id}` submits it again)"
    return text


@click.command("wait")
@click.argument("submission_ids", metavar="ID...", nargs=-1, required=True)
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Give up after this; the jobs go on.")
@patience_option
@output_option
@target_options
def wait_command(
    submission_ids: tuple[str, ...], timeout: float | None, patience: float, output: str, target_options: Options
) -> None:
    """Wait for jobs to end, as long as they take or for --timeout. Exits by the result of one, or the worst of several.

    \b
    Examples:
      jobs wait raysubmit_1f0c --timeout 3600
      jobs wait ID1 ID2 ID3 && jobs submit -- python merge.py
    """
    from ..deadline import Deadline

    async def work(session: Session) -> list[Result]:
        return await session.wait(submission_ids, deadline=Deadline(timeout))

    results = with_session(target_options, work, patience=patience)
    if output == "json":
        records: list[dict[str, Any]] = [result.as_json() for result in results]
        print_json(records[0] if len(records) == 1 else records)
    for result in results:
        say(f"Job {result.submission_id} ended: {summary(result)}")
    raise SystemExit(worst(results))


wait_command.epilog = TARGET_HELP + EXIT_HELP


def worst(results: list[Result]) -> int:
    """One exit code for several jobs: lost before failed before stopped before succeeded."""
    codes = {result.exit_code for result in results}
    return next(code for code in (4, 1, 3, 0) if code in codes)


def with_each(
    target_options: Options, submission_ids: tuple[str, ...], act: Callable[[Session, str], Awaitable[str]]
) -> None:
    """Does it to some jobs at a time and says of each how it went; exits by the highest code of those that failed."""
    import asyncio

    async def work(session: Session) -> list[int]:
        gate = asyncio.Semaphore(AT_A_TIME)

        async def one(submission_id: str) -> int:
            async with gate:
                try:
                    say(f"Job {submission_id}: {await act(session, submission_id)}.")
                except JobsError as error:  # The others are to be done all the same.
                    complain(f"Error: {error}")
                    return error.exit_code
            return 0

        return await asyncio.gather(*map(one, dict.fromkeys(submission_ids)))

    code = max(with_session(target_options, work))
    if code:
        raise SystemExit(code)


@click.command("stop")
@click.argument("submission_ids", metavar="ID...", nargs=-1, required=True)
@click.option("--no-wait", is_flag=True, help="Ask for the stop and do not wait for the end.")
@click.option(
    "--timeout", type=click.FloatRange(min=1), default=60.0, metavar="SECONDS", help="How long to wait (default 60)."
)
@target_options
def stop_command(submission_ids: tuple[str, ...], no_wait: bool, timeout: float, target_options: Options) -> None:
    """Stop jobs and wait until they have ended; a job that had ended is left as it is.

    \b
    Examples:
      jobs stop raysubmit_1f0c
      jobs stop ID1 ID2 --no-wait
    """

    async def stop(session: Session, submission_id: str) -> str:
        info = await session.stop(submission_id, seconds=timeout, wait=not no_wait)
        return info.status if info.ended else "asked to stop"

    with_each(target_options, submission_ids, stop)


stop_command.epilog = TARGET_HELP + STOP_HELP


@click.command("delete")
@click.argument("submission_ids", metavar="ID...", nargs=-1, required=True)
@target_options
def delete_command(submission_ids: tuple[str, ...], target_options: Options) -> None:
    """Delete the server's record of jobs that have ended; one that runs is refused. Logs stay on the node's disk.

    \b
    Examples:
      jobs delete raysubmit_1f0c
      jobs delete ID1 ID2
    """

    async def delete(session: Session, submission_id: str) -> str:
        await session.delete(submission_id)
        return "deleted"

    with_each(target_options, submission_ids, delete)


delete_command.epilog = TARGET_HELP + ANSWER_HELP
