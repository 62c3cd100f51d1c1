"""The rerun command: the same work once more, from the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .options import EXIT_HELP, TARGET_HELP, output_option, patience_option, target_options
from .run import run_job, run_options

if TYPE_CHECKING:
    from ..session import Prepared
    from ..target.resolve import Options


@click.command("rerun")
@click.argument("submission_id", metavar="ID")
@run_options
@patience_option
@output_option
@target_options
def rerun_command(submission_id: str, no_cache: bool, target_options: Options, **values: Any) -> None:
    """Submit a job of the ledger again, under the next attempt's id (ID-r1, ID-r2, ...), linked to the first.

    For a job that was lost or failed. The ledger keeps no secrets: environment variables that were withheld are taken
    from this shell. The package is used again where the server still has it, else packed anew from the same
    directory, which must then be unchanged.

    \b
    Examples:
      jobs rerun raysubmit_1f0c
      jobs rerun raysubmit_1f0c --no-wait
    """
    from ..rerun import rerun_spec
    from ..retries import RetryPolicy
    from ..session import Prepared, plan_again
    from .history import open_ledger

    again = rerun_spec(open_ledger(target_options.ledger), submission_id)

    async def prepare() -> Prepared:
        plan = await plan_again(again.spec, again.origin.working_dir, use_cache=not no_cache)
        return Prepared(again.submission_id, again.spec, plan, True, again.origin)

    run_job(target_options, prepare, RetryPolicy(), **values)


rerun_command.epilog = TARGET_HELP + EXIT_HELP
