"""The jobs of a list: which ones, and their cells."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from ..spec.durations import show_duration
from ..spec.shown import cell, shown
from .output import local_time

if TYPE_CHECKING:
    from ..spec.job_info import JobInfo

HEADER = ("ID", "STATUS", "USER", "STARTED", "DURATION", "ENTRYPOINT")
# Left out of a narrow terminal, in this order.
OPTIONAL = ("STARTED", "USER", "DURATION")


class Filter:
    """Which jobs are shown.

    Args:
        statuses: Only these; empty: any.
        metadata: Pairs that a job must have.
        user: Only jobs of this user.
        since: Only jobs that started since then, in seconds since the epoch.
        limit: Only so many of the newest.
        drivers: Also drivers that were not submitted as jobs.
    """

    def __init__(
        self,
        *,
        statuses: Collection[str],
        metadata: Sequence[tuple[str, str]],
        user: str | None,
        since: float | None,
        limit: int | None,
        drivers: bool,
    ) -> None:
        self.statuses, self.metadata, self.user = statuses, metadata, user
        self.since, self.limit, self.drivers = since, limit, drivers

    def choose(self, jobs: Sequence[JobInfo]) -> list[JobInfo]:
        chosen = [job for job in jobs if self._fits(job)]
        return chosen[-self.limit :] if self.limit else chosen

    def _fits(self, job: JobInfo) -> bool:
        return (
            (self.drivers or job.type == "SUBMISSION")
            and (not self.statuses or job.status in self.statuses)
            and (self.user is None or job.user == self.user)
            and (self.since is None or (job.start_time or 0) / 1000 >= self.since)
            and all(job.metadata.get(key) == value for key, value in self.metadata)
        )


def rows_of(jobs: Sequence[JobInfo]) -> list[tuple[str, ...]]:
    """Returns the cells of each job."""
    return [_row(job) for job in jobs]


def _row(job: JobInfo) -> tuple[str, ...]:
    started, duration = "", ""
    if job.start_time:
        started = local_time(job.start_time / 1000)
    if job.start_time is not None:
        duration = show_duration(((job.end_time or time.time() * 1000) - job.start_time) / 1000)
    return job.submission_id, job.status, shown(job.user, 20), started, duration, cell(job.entrypoint)
