"""`rerun ID`: a job of the local job history again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .follow_job import submit_and_follow
from .help import RESULT_HELP, TARGET_HELP, Command, id_argument
from .options import output_option, patience_option, target_options
from .runner import open_ledger, with_session
from .submit_options import RunFlags, no_cache_option, run_flags

if TYPE_CHECKING:
    from ..session import Session
    from ..target.options import TargetOptions


@click.command("rerun", cls=Command, epilog=TARGET_HELP + RESULT_HELP)
@id_argument("submission_id", metavar="ID")
@run_flags
@no_cache_option
@patience_option
@output_option
@target_options
def rerun_command(submission_id: str, no_cache: bool, run: RunFlags, target_options: TargetOptions) -> None:
    """Submit a job of the local job history again, under the id of the next attempt (ID-r1, ID-r2, ...).

    For a job that was lost or failed. The local job history contains no secrets: environment variables that were
    withheld are taken from this shell. If the server no longer has a package, it is packed again from the same
    directory or module, which must be unchanged.

    \b
    Examples:
      rayjobs rerun raysubmit_1f0c
      rayjobs rerun raysubmit_1f0c --no-wait
    """
    from ..dashboard.client import not_submitted
    from ..rerun import find_rerun, prepare_rerun
    from ..retries import RetryPolicy
    from ..spec.submission_id import has_form_of_job_id

    ledger = open_ledger(target_options.ledger)
    if has_form_of_job_id(submission_id) and ledger.get(submission_id) is None:

        async def submission_id_of(session: Session) -> str:
            job = await session.watcher.get_job(submission_id)
            if job.is_driver:
                raise not_submitted(job)
            return job.submission_id

        submission_id = with_session(target_options, submission_id_of, record=False)
    job = find_rerun(ledger, submission_id)
    submit_and_follow(
        target_options,
        lambda: prepare_rerun(job, use_cache=not no_cache, ledger=target_options.ledger),
        run,
        RetryPolicy(),
    )
