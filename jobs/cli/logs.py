"""`logs ID`: a job's log, byte for byte."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from ..errors import Interrupted, JobsError, LocalFault, number_of
from ..spec.durations import parse_since
from .help import RESULT_HELP, TARGET_HELP, Command, id_argument, option
from .ledger_log import find_log_of_target, print_ledger_log
from .options import patience_option, target_options
from .output import notify, print_error, report_end, write_stdout
from .runner import detached, end_of_log, pending_explained, with_session

if TYPE_CHECKING:
    from ..session import Session
    from ..spec.job_info import Result
    from ..target.options import TargetOptions


@click.command("logs", cls=Command, epilog=TARGET_HELP + RESULT_HELP)
@id_argument("submission_id", metavar="ID")
@option("-f", "--follow", is_flag=True, help="Until the job ends; exit with its result.")
@option("--tail", type=click.IntRange(min=0), metavar="N", help="Only the last N lines, and what follows.")
@option("--since", metavar="TIME", help="Only lines since then: 10m, 2h, 2026-11-26T14:00Z. By the times in the log.")
@option("--save", metavar="FILE", help="Write the log to this file instead of stdout.")
@option("--offset", type=click.IntRange(min=0), default=0, metavar="BYTES", help="Leave out the first BYTES.")
@patience_option
@target_options
def logs_command(
    submission_id: str,
    follow: bool,
    tail: int | None,
    since: str | None,
    save: str | None,
    offset: int,
    patience: float,
    target_options: TargetOptions,
) -> None:
    """Print a job's log to stdout, byte for byte.

    With --follow, every byte comes once and in order, also when connections drop, until the job has ended and the log
    is complete. The exit code is then the job's. Ctrl-C leaves the job running.

    If the server no longer has the job, the end of its log comes from the local job history.

    \b
    Examples:
      rayjobs logs raysubmit_1f0c --save job.log
      rayjobs logs --follow --tail 20 raysubmit_1f0c
      rayjobs logs --since 10m raysubmit_1f0c
    """
    if offset and (tail is not None or since is not None):
        raise click.UsageError("--offset cannot be used with --tail or --since.")
    since_time = parse_since(since, "--since", time.time()) if since else None
    log, log_end = _Sink(save), ""

    async def read(session: Session) -> Result | None:
        nonlocal submission_id, log_end
        submission_id = await session.submission_id_of(submission_id)
        begin = offset
        if tail is not None or since_time is not None:
            begin = await session.print_log_end(submission_id, log.write, lines=tail, since=since_time)
            if not follow:
                return None
        if follow:
            async with pending_explained(session):
                result = await session.run_to_end(submission_id, log.write, known_to_exist=False, offset=begin)
            log_end = await end_of_log(session, result)
            return result
        await session.print_log(submission_id, log.write, offset=begin)
        return None

    try:
        result = with_session(target_options, read, patience=patience)
    except Interrupted as interrupted:
        raise detached(interrupted, submission_id) from None
    except JobsError as error:
        # The ledger's log outlives the cluster. Nothing is printed twice.
        recorded = None if log.written else find_log_of_target(submission_id, target_options)
        if recorded is None:
            raise
        from ..dashboard.log_end import end_of

        print_ledger_log(recorded, lambda data: log.write(end_of(data, lines=tail, since=since_time)))
        log.close()
        print_error(f"Error: {error}")
        raise SystemExit(error.exit_code if follow or not recorded.same_cluster else 0) from None
    log.close()
    if result is not None:
        report_end(result, log_end)
        raise SystemExit(result.exit_code)


class _Sink:
    """Writes the log to stdout or to a file, which is replaced at the first byte: not if the job is unknown."""

    def __init__(self, path: str | None) -> None:
        self.path = path
        self.written = 0

    def write(self, piece: bytes) -> None:
        if self.path is None:
            write_stdout(piece)
        else:
            try:
                with open(self.path, "ab" if self.written else "wb") as file:
                    file.write(piece)
            except OSError as error:
                raise LocalFault(f"Could not write {self.path}: {error.strerror or error}.") from None
        self.written += len(piece)

    def close(self) -> None:
        """Reports what was saved. An empty log is an empty file."""
        if self.path is not None:
            self.write(b"")
            notify(f"Saved {number_of(self.written, 'byte')} to {self.path}.")
