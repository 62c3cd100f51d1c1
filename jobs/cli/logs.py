"""`logs ID`: a job's log, byte for byte."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NoReturn

import click

from ..errors import Interrupted, JobsError, LocalFault, number_of
from ..spec.durations import parse_since
from ..spec.job_info import LOST
from .help import RESULT_HELP, TARGET_HELP, Command, id_argument, option
from .kept import LogRequest, is_for_keeper, is_forgotten, print_kept_log, record_kept, result_of
from .ledger_log import find_log_of_target, print_ledger_log
from .options import patience_option, target_options
from .output import notify, print_error, report_end, write_stdout
from .runner import detached, end_of_log, pending_explained, run, with_session

if TYPE_CHECKING:
    from ..keeper.client import KeptJob
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

    If Ray no longer has the job or its log, the log comes from the cluster's keeper: with --follow from the same byte
    on. Without a keeper, the end of the log comes from the local job history.

    \b
    Examples:
      rayjobs logs raysubmit_1f0c --save job.log
      rayjobs logs --follow --tail 20 raysubmit_1f0c
      rayjobs logs --since 10m raysubmit_1f0c
    """
    if offset and (tail is not None or since is not None):
        raise click.UsageError("--offset cannot be used with --tail or --since.")
    from ..target.resolve import resolve

    since_time = parse_since(since, "--since", time.time()) if since else None
    target = resolve(target_options, notify=notify)
    log, log_end, is_gone = _Sink(save, offset), "", False

    async def read(session: Session) -> Result | None:
        nonlocal submission_id, log_end, is_gone
        submission_id = await session.submission_id_of(submission_id)
        begin = offset
        try:
            if tail is not None or since_time is not None:
                log.position = None
                begin = await session.print_log_end(submission_id, log.write, lines=tail, since=since_time)
                log.position = begin
                if not follow:
                    return None
            if follow:
                async with pending_explained(session):
                    result = await session.run_to_end(submission_id, log.write, known_to_exist=False, offset=begin)
                log_end = await end_of_log(session, result)
                return result
            await session.print_log(submission_id, log.write, offset=offset)
            return None
        finally:
            is_gone = submission_id in session.gone_logs

    def from_keeper(*, forgotten: bool) -> tuple[KeptJob, bool] | None:
        if not log.written:
            wanted = LogRequest(log.write, log.position or 0, tail, since_time)
        elif log.position is not None:
            wanted = LogRequest(log.write, log.position, is_rest=True)
        else:
            return None
        return run(lambda: print_kept_log(target, submission_id, wanted, forgotten=forgotten))

    try:
        result = with_session(target_options, read, patience=patience, target=target)
    except Interrupted as interrupted:
        raise detached(interrupted, submission_id) from None
    except JobsError as error:
        kept = from_keeper(forgotten=is_forgotten(error)) if is_for_keeper(error) else None
        # The ledger's log outlives the cluster. Nothing is printed twice.
        recorded = None if log.written or (kept and kept[1]) else find_log_of_target(submission_id, target_options)
        if recorded is not None:
            from ..dashboard.log_end import end_of

            print_ledger_log(recorded, lambda data: log.write(end_of(data, lines=tail, since=since_time)))
        if kept is not None:
            record_kept(target_options, [kept[0]])
            _end_with_kept(log, kept[0], error, follow=follow)
        if recorded is None:
            raise
        log.close()
        print_error(f"Error: {error}")
        raise SystemExit(error.exit_code if follow or not recorded.same_cluster else 0) from None
    if is_gone:
        is_lost = result is not None and result.status == LOST
        kept = from_keeper(forgotten=is_lost)
        if kept is not None and is_lost:
            record_kept(target_options, [kept[0]])
            result = result_of(kept[0])
    log.close()
    if result is not None:
        report_end(result, log_end)
        raise SystemExit(result.exit_code)


def _end_with_kept(log: _Sink, job: KeptJob, error: JobsError, *, follow: bool) -> NoReturn:
    """Ends the command as the keeper has the job. See `kept`."""
    log.close()
    if not (is_forgotten(error) or job.entry.ended):
        print_error(f"Error: {error}")
        raise SystemExit(error.exit_code if follow else 0) from None
    if not follow:
        raise SystemExit(0) from None
    result = result_of(job)
    report_end(result)
    raise SystemExit(result.exit_code) from None


class _Sink:
    """Writes the log to stdout or to a file, which is replaced at the first byte: not if the job is unknown.

    Attributes:
        position: The next byte of the log; None: it is not known, because lines were left out.
        written: How many bytes were written.
    """

    def __init__(self, path: str | None, position: int) -> None:
        self.path = path
        self.position: int | None = position
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
        if self.position is not None:
            self.position += len(piece)

    def close(self) -> None:
        """Reports what was saved. An empty log is an empty file."""
        if self.path is not None:
            self.write(b"")
            notify(f"Saved {number_of(self.written, 'byte')} to {self.path}.")
