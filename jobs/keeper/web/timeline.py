"""The states of a job in order, each with its time and its duration. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from ...ledger.records import SUBMITTING, Entry
from ...spec.job_info import LOST

# What the server said of a job before anybody saw its status.
ACCEPTED = "ACCEPTED"
_WORDS = {
    ACCEPTED: "Accepted",
    SUBMITTING: "Sent",
    "PENDING": "Waiting to start",
    "RUNNING": "Running",
    "SUCCEEDED": "Succeeded",
    "FAILED": "Failed",
    "STOPPED": "Stopped",
    LOST: "Lost",
    "REFUSED": "Refused",
    "DELETED": "Record deleted",
}


@dataclass(frozen=True)
class Step:
    """One state.

    Attributes:
        status: The status, such as PENDING.
        words: What it means.
        at: When it began, in seconds since the epoch.
        seconds: How long it lasted; of the state of a job that has not ended, how long it lasts until now. None for
            the end.
        is_now: Whether it lasts.
    """

    status: str
    words: str
    at: float
    seconds: float | None
    is_now: bool = False


def status_words(status: str) -> str:
    """Returns a status in words, such as `Waiting to start`; a status that is unknown as it is."""
    return _WORDS.get(status, status)


def timeline(entry: Entry, now: float) -> list[Step]:
    """Returns the states of a job. Clocks may jump: no duration is negative.

    Args:
        entry: The job, with its changes; without them its present status is the only state.
        now: Seconds since the epoch.
    """
    changes = entry.changes or ((entry.status, entry.status_at),)
    if changes[0][0] not in (SUBMITTING, "PENDING") and begin(entry) < changes[0][1]:
        # It was seen only later: what happened before is not known, but when it began is.
        changes = ((ACCEPTED, begin(entry)), *changes)
    steps = []
    for index, (status, at) in enumerate(changes):
        is_last = index == len(changes) - 1
        following = now if is_last else changes[index + 1][1]
        seconds = None if is_last and entry.ended else max(0.0, following - at)
        steps.append(Step(status, status_words(status), at, seconds, is_last and not entry.ended))
    return steps


def queue_seconds(entry: Entry) -> float | None:
    """Returns how long a job waited until it ran; None if it never ran, or is not known to have run."""
    running = next((at for status, at in entry.changes if status == "RUNNING"), None)
    return None if running is None else max(0.0, running - begin(entry))


def run_seconds(entry: Entry) -> float | None:
    """Returns how long a job ran until it ended; None if it has not ended, or is not known to have run."""
    running = next((at for status, at in entry.changes if status == "RUNNING"), None)
    return None if running is None or not entry.ended else max(0.0, end(entry) - running)


def total_seconds(entry: Entry, now: float) -> float:
    """Returns the time from the submission to the end, or to now."""
    return max(0.0, (end(entry) if entry.ended else now) - begin(entry))


def begin(entry: Entry) -> float:
    """Returns when the server accepted a job; else when it was recorded. In seconds since the epoch."""
    return entry.created if entry.started_at is None else entry.started_at


def end(entry: Entry) -> float:
    """Returns when a job ended by the server's clock; else when that was seen. In seconds since the epoch."""
    return entry.status_at if entry.ended_at is None else entry.ended_at
