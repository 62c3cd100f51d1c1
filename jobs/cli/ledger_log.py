"""A log from the local job history, for a job that the server no longer has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import JobsError, UnknownJob, command
from .output import notify, write_stdout

if TYPE_CHECKING:
    from ..ledger.records import Entry
    from ..ledger.store import Ledger
    from ..target.options import TargetOptions


def find_entry(ledger: Ledger, submission_id: str, identity: str | None = None) -> Entry:
    """The job in the ledger, preferably of the cluster `identity`. Raises UnknownJob, LedgerFault."""
    entry = (identity and ledger.get(submission_id, identity)) or ledger.get(submission_id)
    if entry is None:
        raise UnknownJob(
            f"The ledger {ledger.path} has no job {submission_id!r}.", f"{command('history')} lists its jobs."
        )
    return entry


def print_log_from_ledger(ledger: Ledger, submission_id: str, identity: str | None = None) -> bool:
    """Prints the end of a log to stdout, and returns whether the job ran on the cluster `identity` (or None was given).

    Raises UnknownJob, LedgerFault.
    """
    entry = find_entry(ledger, submission_id, identity)
    tail = ledger.tail(submission_id, entry.place.identity)
    if tail is None:
        raise UnknownJob(
            f"The ledger has job {submission_id} ({entry.status}), but nothing of its log.",
            "The end of a log is saved while `submit` or `logs --follow` reads it.",
        )
    same_cluster = identity in (None, entry.place.identity)
    extent = "the whole log" if tail.whole else f"the last {len(tail.data)} of {tail.total} bytes"
    cluster = "" if same_cluster else f" of ANOTHER cluster ({entry.place.stack or entry.place.identity})"
    notify(f"From the ledger: {extent} of job {submission_id}{cluster}, as far as it was followed; {entry.status}.")
    write_stdout(tail.data)
    return same_cluster


def print_log_of_target(submission_id: str, target_options: TargetOptions) -> bool | None:
    """The same for the cluster of the target; None if the ledger has no log.

    Two clusters may have jobs with the same id. A log of another cluster is labelled so.
    """
    from ..target.resolve import resolve
    from .run import open_ledger

    try:
        identity = resolve(target_options).identity
    except JobsError:
        identity = None  # The cluster is not known: take the newest job with this id.
    try:
        return print_log_from_ledger(open_ledger(target_options.ledger), submission_id, identity)
    except JobsError:
        return None
