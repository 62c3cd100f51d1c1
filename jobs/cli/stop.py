"""`stop ID...`: stop jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .help import STOP_HELP, TARGET_HELP, Command, id_argument, option
from .options import target_options
from .runner import for_each_job

if TYPE_CHECKING:
    from ..session import Session
    from ..target.options import TargetOptions


@click.command("stop", cls=Command, epilog=TARGET_HELP + STOP_HELP)
@id_argument("submission_ids", metavar="ID...", nargs=-1, required=True)
@option("--no-wait", is_flag=True, help="Ask for the stop and return.")
@option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=60.0,
    metavar="SECONDS",
    help="How long to wait for the end (default 60).",
)
@target_options
def stop_command(submission_ids: tuple[str, ...], no_wait: bool, timeout: float, target_options: TargetOptions) -> None:
    """Stop jobs and wait until they have ended. A job that has ended already is left unchanged.

    \b
    Examples:
      rayjobs stop raysubmit_1f0c
      rayjobs stop ID1 ID2 --no-wait
    """

    async def stop(session: Session, submission_id: str) -> str:
        info = await session.stop(submission_id, seconds=timeout, wait=not no_wait)
        return info.status if info.ended else "asked to stop"

    for_each_job(target_options, submission_ids, stop)
