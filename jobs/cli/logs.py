"""`logs ID`: a job's log, byte for byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..errors import Interrupted, JobsError
from .help import RESULT_HELP, TARGET_HELP, Command, id_argument, option
from .ledger_log import find_log_of_target, print_ledger_log
from .options import patience_option, target_options
from .output import notify_end, print_error, write_stdout
from .runner import detached, with_session

if TYPE_CHECKING:
    from ..session import Session
    from ..spec.job_info import Result
    from ..target.options import TargetOptions


@click.command("logs", cls=Command, epilog=TARGET_HELP + RESULT_HELP)
@id_argument("submission_id", metavar="ID")
@option("-f", "--follow", is_flag=True, help="Until the job ends; exit with its result.")
@option("--offset", type=click.IntRange(min=0), default=0, metavar="BYTES", help="Leave out the first BYTES.")
@patience_option
@target_options
def logs_command(submission_id: str, follow: bool, offset: int, patience: float, target_options: TargetOptions) -> None:
    """Print a job's log to stdout, byte for byte.

    With --follow, every byte comes once and in order, also when connections drop, until the job has ended and the log
    is complete. The exit code is then the job's. Ctrl-C leaves the job running.

    If the server no longer has the job, the end of its log comes from the local job history.

    \b
    Examples:
      rayjobs logs raysubmit_1f0c > job.log
      rayjobs logs --follow raysubmit_1f0c
    """
    printed = 0

    def write(piece: bytes) -> None:
        nonlocal printed
        printed += len(piece)
        write_stdout(piece)

    async def read(session: Session) -> Result | None:
        nonlocal submission_id
        submission_id = await session.submission_id_of(submission_id)
        if follow:
            return await session.run_to_end(submission_id, write, known_to_exist=False, offset=offset)
        await session.print_log(submission_id, write, offset=offset)
        return None

    try:
        result = with_session(target_options, read, patience=patience)
    except Interrupted as interrupted:
        raise detached(interrupted, submission_id) from None
    except JobsError as error:
        # The ledger's log outlives the cluster. Nothing is printed twice.
        log = None if printed else find_log_of_target(submission_id, target_options)
        if log is None:
            raise
        print_ledger_log(log)
        print_error(f"Error: {error}")
        raise SystemExit(error.exit_code if follow or not log.same_cluster else 0) from None
    if result is not None:
        notify_end(result)
        raise SystemExit(result.exit_code)
