"""Limits of the time that a job waits and runs."""

from __future__ import annotations

from dataclasses import dataclass

from ..deadline import Deadline
from ..errors import DeadlinePassed
from .job_info import JobInfo
from .shown import SENTENCE_LIMIT, shown


@dataclass
class TimeLimits:
    """Limits of the time that a job takes, in seconds; None means no limit. The time begins with this object.

    Args:
        queue: Limit of the time in PENDING.
        start: Limit of the time until the job is RUNNING.
        run: Limit of the time in RUNNING. It begins when RUNNING is first seen.
        elapsed: The part of `start` that has passed already, such as for an upload.
    """

    queue: float | None = None
    start: float | None = None
    run: float | None = None
    elapsed: float = 0.0

    def __post_init__(self) -> None:
        self._queue = Deadline(self.queue)
        self._start = Deadline(None if self.start is None else max(0.0, self.start - self.elapsed))
        self._run: Deadline | None = None

    def left(self, job: JobInfo | None) -> float:
        """Seconds until the next limit passes; `job` is its last known record."""
        if job is None or job.status == "PENDING":
            return min(self._queue.left, self._start.left)
        if self._run is None:
            self._run = Deadline(self.run)
        return float("inf") if job.ended else self._run.left

    def check(self, submission_id: str, job: JobInfo | None) -> None:
        """Raises DeadlinePassed, with the limit that passed."""
        if self.left(job) > 0:
            return
        if job is not None and job.status != "PENDING":
            raise DeadlinePassed(f"Job {submission_id} has run for {self.run:.0f} s, which is its --timeout.")
        flag, seconds = ("--queue-timeout", self.queue) if self._queue.passed else ("--start-timeout", self.start)
        raise DeadlinePassed(
            f"Job {submission_id} did not start within {flag} ({seconds:.0f} s).",
            f"Ray says: {shown(job.message, SENTENCE_LIMIT, lines=True)}" if job is not None and job.message else "",
        )
