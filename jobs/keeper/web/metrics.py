"""The metrics of kept jobs as Prometheus text. Written here: it is one page, and prometheus_client would bring a
registry of the process, threads' locks and metrics of Python itself. Pure but for `Durations`."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING

from .cluster_view import KeeperState
from .filters import STATUSES
from .timeline import queue_seconds, run_seconds

if TYPE_CHECKING:
    from ...ledger.kept import KeptJobs

# In seconds: from a second to a day, and to a week.
BUCKETS = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 86400, 7 * 86400)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_EVENTS_AT_ONCE = 1000


@dataclass
class Histogram:
    """Numbers of durations by bucket; the last is for those above all bounds."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total: float = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds


class Durations:
    """How long the jobs waited and ran that ended since this object was made, from the events of the store.

    A counter of Prometheus begins at 0 with its process, so the jobs before it are not read again.

    Args:
        kept: The store.
        after: The number of the newest event that is not counted.
    """

    def __init__(self, kept: KeptJobs, after: int) -> None:
        self._kept = kept
        self._after = after
        self._lock = threading.Lock()
        self._queue = Histogram()
        self._run: dict[str, Histogram] = {}

    def update(self) -> tuple[Histogram, dict[str, Histogram]]:
        """Counts the events since the last call. Returns the waiting times, and the running times by status."""
        with self._lock:
            while events := self._kept.events(self._after, _EVENTS_AT_ONCE):
                for event in events:
                    self._after = event.seq
                    if event.kind == "status" and event.submission_id is not None:
                        self._count(event.submission_id, str(event.data.get("status")))
            return self._queue, dict(self._run)

    def _count(self, submission_id: str, status: str) -> None:
        if status not in ("SUCCEEDED", "FAILED", "STOPPED"):
            return
        entry = self._kept.job(submission_id)
        if entry is None or entry.status != status:
            return
        if (queued := queue_seconds(entry)) is not None:
            self._queue.observe(queued)
        if (ran := run_seconds(entry)) is not None:
            self._run.setdefault(status, Histogram()).observe(ran)


def metrics_text(
    counts: Mapping[str, int], queue: Histogram, run: Mapping[str, Histogram], bytes_kept: int, state: KeeperState
) -> str:
    """Returns the metrics.

    Args:
        counts: The number of kept jobs by status.
        queue: How long jobs waited until they ran.
        run: How long jobs ran, by the status with which they ended.
        bytes_kept: The size of all logs on the disk.
        state: The keeper's own.
    """
    lines: list[str] = []
    known = {**dict.fromkeys(STATUSES, 0), **counts}
    _add(lines, "rayjobs_kept_jobs", "gauge", "Kept jobs by status.", ((_label(k), v) for k, v in known.items()))
    _head(lines, "rayjobs_job_queue_seconds", "histogram", "Time from submission to start, of jobs that ended.")
    lines += _histogram("rayjobs_job_queue_seconds", "", queue)
    _head(lines, "rayjobs_job_run_seconds", "histogram", "Time from start to end, of jobs that ended.")
    for status, histogram in run.items():
        lines += _histogram("rayjobs_job_run_seconds", f'status="{_escaped(status)}"', histogram)
    _add(lines, "rayjobs_kept_log_bytes", "gauge", "Size of the kept logs on the disk.", [("", bytes_kept)])
    if state.behind_seconds is not None:
        text = "Time since the last answer of the Jobs API was recorded."
        _add(lines, "rayjobs_keeper_behind_seconds", "gauge", text, [("", round(state.behind_seconds, 3))])
    _add(lines, "rayjobs_keeper_problems", "gauge", "Problems of the keeper now.", [("", len(state.problems))])
    return "\n".join(lines) + "\n"


def _head(lines: list[str], name: str, kind: str, text: str) -> None:
    lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]


def _add(lines: list[str], name: str, kind: str, text: str, values: Iterable[tuple[str, float]]) -> None:
    _head(lines, name, kind, text)
    lines += [f"{name}{labels} {value}" for labels, value in values]


def _label(status: str) -> str:
    return f'{{status="{_escaped(status)}"}}'


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _histogram(name: str, labels: str, histogram: Histogram) -> list[str]:
    before = f"{labels}," if labels else ""
    own = f"{{{labels}}}" if labels else ""
    bounds = [*map(str, BUCKETS), "+Inf"]
    sums = list(accumulate(histogram.counts))
    lines = [f'{name}_bucket{{{before}le="{le}"}} {n}' for le, n in zip(bounds, sums, strict=True)]
    return [*lines, f"{name}_sum{own} {round(histogram.total, 3)}", f"{name}_count{own} {sums[-1]}"]
