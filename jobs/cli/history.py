"""`history`: the local job history, a ledger of what was submitted from this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..spec.shown import cell, shown
from .help import Command, id_argument, option
from .ledger_log import find_entry
from .options import output_option
from .output import local_time, print_fields, print_json, print_text
from .runner import open_ledger
from .statuses import status_option
from .table import print_table

if TYPE_CHECKING:
    from ..ledger.records import Entry


@click.command("history", cls=Command)
@id_argument("submission_id", metavar="[ID]", required=False)
@option("--mine", is_flag=True, help="Only jobs that this user submitted.")
@status_option(help="Only this status, such as RUNNING, FAILED, LOST.")
@option("--limit", type=click.IntRange(min=1), default=50, metavar="N", help="Only the N newest (default 50).")
@option(
    "--ledger",
    metavar="FILE",
    help="Ledger file (default: RAYJOBS_LEDGER, or ~/.local/state/rayjobs/ledger.sqlite).",
)
@output_option
def history_command(
    submission_id: str | None, mine: bool, status: str | None, limit: int, ledger: str | None, output: str
) -> None:
    """Show the jobs that were submitted from this machine, newest first; with an ID, all that is known of the job.

    The local job history is a file of this user, the ledger. It needs no cluster, and it still has the jobs of clusters
    that were deleted. The status of a job is the last one that a command on this machine saw.

    \b
    Examples:
      rayjobs history --mine
      rayjobs history --status LOST --output json
      rayjobs history raysubmit_1f0c
    """
    job_history = open_ledger(ledger)
    if submission_id is not None:
        entry = find_entry(job_history, submission_id)
        if output == "json":
            print_json(entry.as_json())
        else:
            print_entry(entry)
        return
    entries = job_history.history(mine=mine, status=status, limit=limit)
    if output == "json":
        print_json([entry.as_json() for entry in entries])
        return
    print_table(
        ("ID", "STATUS", "SUBMITTED", "USER", "STACK", "CLUSTER", "ENTRYPOINT"),
        [_row(entry) for entry in entries],
        optional=("CLUSTER", "STACK", "USER", "SUBMITTED"),
    )


def _row(entry: Entry) -> tuple[str, ...]:
    place = entry.place
    return (
        entry.submission_id,
        entry.status,
        local_time(entry.created),
        entry.user,
        place.stack or place.kind,
        place.cluster or place.identity,
        cell(entry.spec["entrypoint"]),
    )


def print_entry(entry: Entry) -> None:
    """Prints all that the ledger has of a submission, a line for each field and each status."""
    place, origin = entry.place, entry.origin
    commit = ""
    if origin.commit:
        commit = f"{origin.commit.sha}{' (with uncommitted changes)' if origin.commit.dirty else ''}"
    print_fields(
        [
            ("job", entry.submission_id),
            ("status", entry.status),
            ("entrypoint", shown(entry.spec["entrypoint"], lines=True)),
            ("exit code", entry.driver_exit_code),
            ("error", entry.error_type),
            ("where", f"{place.stack or place.kind}, {place.cluster or place.identity}"),
            ("user", f"{entry.user} on {entry.host}"),
            ("key", origin.key),
            ("batch", origin.batch),
            ("attempt of", origin.attempt_of),
            ("directory", origin.working_dir),
            ("package", entry.package),
            ("modules", ", ".join(origin.modules)),
            ("commit", commit),
            ("withheld", ", ".join(entry.withheld)),
        ]
    )
    for status, at in entry.changes:
        print_text(f"  {local_time(at)}  {status}")
