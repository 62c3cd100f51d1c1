"""A log from the local job history, for a job that the server no longer has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import JobsError, UnknownJob, number_of
from .output import notify, write_stdout

if TYPE_CHECKING:
    from ..ledger.records import Entry, Tail
    from ..ledger.store import Ledger
    from ..target.options import TargetOptions


def find_entry(ledger: Ledger, submission_id: str, identity: str | None = None) -> Entry:
    """Finds the job in the ledger, preferably of the cluster `identity`. Raises UnknownJob, LedgerFault."""
    entry = (identity and ledger.get(submission_id, identity)) or ledger.get(submission_id)
    if entry is None:
        from ..ledger.store import no_entry

        raise no_entry(ledger, submission_id)
    return entry


@dataclass(frozen=True)
class LedgerLog:
    """The end of a log.

    Attributes:
        entry: The job in the ledger.
        tail: The bytes.
        same_cluster: Whether the job ran on the cluster in question.
    """

    entry: Entry
    tail: Tail
    same_cluster: bool


def find_log(ledger: Ledger, submission_id: str, identity: str | None = None) -> LedgerLog:
    """Finds the log of the job, preferably on the cluster `identity`; None: any cluster.

    Raises UnknownJob, LedgerFault.
    """
    entry = find_entry(ledger, submission_id, identity)
    tail = ledger.tail(submission_id, entry.place.identity)
    if tail is None:
        raise UnknownJob(
            f"The ledger has job {submission_id} ({entry.status}), but nothing of its log.",
            "The end of a log is saved while `submit` or `logs --follow` reads it.",
        )
    return LedgerLog(entry, tail, same_cluster=identity in (None, entry.place.identity))


def find_log_of_target(submission_id: str, target_options: TargetOptions) -> LedgerLog | None:
    """Finds the log of the job, preferably on the target's cluster; None if the ledger has no log.

    Two clusters may have jobs with the same id.
    """
    from ..target.resolve import resolve
    from .runner import open_ledger

    try:
        identity = resolve(target_options).identity
    except JobsError:
        identity = None  # The cluster is not known: take the newest job with this id.
    try:
        return find_log(open_ledger(target_options.ledger), submission_id, identity)
    except JobsError:
        return None


def print_ledger_log(log: LedgerLog, write: Callable[[bytes], None] = write_stdout) -> None:
    """Gives `write` the log, and prints its extent and origin to stderr. A log of another cluster is labelled so."""
    entry, tail = log.entry, log.tail
    extent = "the whole log" if tail.whole else f"the last {len(tail.data)} of {number_of(tail.total, 'byte')}"
    cluster = "" if log.same_cluster else f" of ANOTHER cluster ({entry.place.stack or entry.place.identity})"
    log_of = f"{extent} of job {entry.submission_id}{cluster}, as far as this machine read it"
    notify(f"From the ledger: {log_of}. The job's status is {entry.status}.")
    write(tail.data)
