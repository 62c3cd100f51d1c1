"""`delete ID...`: delete the server's record of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .help import ANSWER_HELP, TARGET_HELP, Command, id_argument
from .options import target_options
from .runner import for_each_job

if TYPE_CHECKING:
    from ..session import Session
    from ..target.options import TargetOptions


@click.command("delete", cls=Command, epilog=TARGET_HELP + ANSWER_HELP)
@id_argument("submission_ids", metavar="ID...", nargs=-1, required=True)
@target_options
def delete_command(submission_ids: tuple[str, ...], target_options: TargetOptions) -> None:
    """Delete the server's record of jobs that have ended. A running job is refused. Log files stay on the node.

    \b
    Examples:
      rayjobs delete raysubmit_1f0c
      rayjobs delete ID1 ID2
    """

    async def delete(session: Session, submission_id: str) -> str:
        await session.delete(submission_id)
        return "deleted"

    for_each_job(target_options, submission_ids, delete)
