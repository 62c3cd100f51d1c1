"""Commands on the ledger: what was submitted from this machine, cluster or no cluster."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..errors import UnknownJob
from .options import output_option, print_json, say

if TYPE_CHECKING:
    from ..ledger.store import Entry, Ledger

F = TypeVar("F", bound=Callable[..., Any])


def ledger_option(command: F) -> F:
    """Adds `--ledger`; the command gets `ledger` (str or None)."""
    return click.option(
        "--ledger",
        metavar="FILE",
        help="Ledger to use (else RAYJOBS_LEDGER, else ~/.local/state/rayjobs/ledger.sqlite).",
    )(command)


def open_ledger(path: str | None) -> Ledger:
    from ..ledger.store import Ledger

    return Ledger(None if path is None else Path(path).expanduser(), say)


@click.command("history")
@click.argument("submission_id", metavar="[ID]", required=False)
@click.option("--mine", is_flag=True, help="Only what this user submitted.")
@click.option("--status", metavar="STATUS", help="Only this status, e.g. RUNNING, FAILED, LOST.")
@click.option("--limit", type=click.IntRange(min=1), default=50, metavar="N", help="Only the N newest (default 50).")
@ledger_option
@output_option
def history_command(
    submission_id: str | None, mine: bool, status: str | None, limit: int, ledger: str | None, output: str
) -> None:
    """Show what was submitted from this machine, newest first; with an ID all that is kept of it.

    The ledger is a file of this user's: it answers without a cluster, and for clusters that are gone. A status is the
    last one that a command on this machine saw.

    \b
    Examples:
      jobs history --mine
      jobs history --status LOST --output json
      jobs history raysubmit_1f0c
    """
    kept = open_ledger(ledger)
    if submission_id is not None:
        entry = find(kept, submission_id)
        if output == "json":
            print_json(entry.as_json())
        else:
            click.echo(describe(entry))
        return
    entries = kept.history(mine=mine, status=status.upper() if status else None, limit=limit)
    if output == "json":
        print_json([entry.as_json() for entry in entries])
        return
    from .jobs import table

    rows = [
        (
            entry.submission_id,
            entry.status,
            when(entry.created),
            entry.user,
            entry.place.stack or entry.place.kind,
            entry.place.cluster or entry.place.identity,
            " ".join(entry.spec["entrypoint"].split())[:60],
        )
        for entry in entries
    ]
    table([("ID", "STATUS", "SUBMITTED", "USER", "STACK", "CLUSTER", "ENTRYPOINT"), *rows])


def find(ledger: Ledger, submission_id: str, identity: str | None = None) -> Entry:
    """The entry, of the cluster `identity` where it has one there. Raises UnknownJob."""
    entry = (identity and ledger.get(submission_id, identity)) or ledger.get(submission_id)
    if entry is None:
        raise UnknownJob(f"The ledger {ledger.path} has no job {submission_id!r}.", "`history` shows those it has.")
    return entry


def describe(entry: Entry) -> str:
    """All that is kept of a submission, a line a field."""
    place, origin = entry.place, entry.origin
    commit = (
        f"{origin.commit.sha}{' (with uncommitted changes)' if origin.commit.dirty else ''}" if origin.commit else ""
    )
    fields = [
        ("job", entry.submission_id),
        ("status", entry.status),
        ("entrypoint", entry.spec["entrypoint"]),
        ("exit code", entry.driver_exit_code),
        ("error", entry.error_type),
        ("where", f"{place.stack or place.kind}, {place.cluster or place.identity}"),
        ("user", f"{entry.user} on {entry.host}"),
        ("key", origin.key),
        ("batch", origin.batch),
        ("attempt of", origin.attempt_of),
        ("directory", origin.working_dir),
        ("package", entry.package),
        ("commit", commit),
        ("withheld", ", ".join(entry.withheld)),
    ]
    lines = [f"{name + ':':<12}{value}" for name, value in fields if value not in (None, "")]
    return "\n".join([*lines, *(f"  {when(at)}  {status}" for status, at in entry.changes)])


def when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def print_kept_log(ledger: Ledger, submission_id: str, identity: str | None = None) -> bool:
    """The end of a log from the ledger to stdout, for a job whose server is gone; whether it is one of `identity`'s.

    Raises UnknownJob, LedgerFault.
    """
    entry = find(ledger, submission_id, identity)
    tail = ledger.tail(submission_id, entry.place.identity)
    if tail is None:
        raise UnknownJob(
            f"The ledger has job {submission_id} ({entry.status}), and none of its log.",
            "A log is kept while `submit` or `logs --follow` reads it.",
        )
    here = identity in (None, entry.place.identity)
    lacking = "the whole log" if tail.whole else f"the last {len(tail.data)} of {tail.total} bytes"
    where = "" if here else f" of ANOTHER cluster ({entry.place.stack or entry.place.identity})"
    say(f"From the ledger: {lacking} of job {submission_id}{where}, as far as it was followed; {entry.status}.")
    sys.stdout.buffer.write(tail.data)
    sys.stdout.buffer.flush()
    return here
