"""Watches the jobs of a cluster: one list request at each look, whatever the number of jobs.

What is lost is defined as in `jobs.dashboard.waiting`: a job that had not ended, and that LOOKS_UNTIL_LOST looks in a
row do not find. A job that comes back is corrected by the next look.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Protocol

from ..connection import Connection
from ..dashboard.client import LIST_SECONDS
from ..dashboard.state_api import query_state
from ..dashboard.waiting import LIST_PAUSE_FACTOR, LOOKS_UNTIL_LOST
from ..deadline import Backoff, Deadline
from ..errors import JobsError, LedgerFault, NotAllowed
from ..spec.job_info import JobInfo
from .problems import Problems
from .store import Store

# Between two looks; the second one while no job waits or runs, and the list stays the same.
LOOK_SECONDS, RESTING_LOOK_SECONDS = 2.0, 4.0
# The first and the longest pause while Ray does not answer.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 10.0
# How long a list may take after an answer. Each failure doubles it up to LIST_SECONDS: a head that has just restarted
# takes minutes, and one that vanished never closes the connection.
ATTEMPT_SECONDS = 30.0
# Without an answer for so long, the keeper says that it is behind.
SILENT_SECONDS = 20.0
# How often Ray is asked which head answers if nothing points to another one, and whether drivers of jobs are dead.
HEAD_SECONDS, ORPHANS_SECONDS = 60.0, 15.0
HEAD_REQUEST_SECONDS = 5.0
# A job that waits for so long is explained, and again after the second time.
WAITS_SECONDS, WAITS_AGAIN_SECONDS = 60.0, 600.0
# Between the session and the node of a head.
NODE = ", node "
REPLACED = "The head was replaced, and the new one does not know the job."
FORGOTTEN = "Ray no longer knows the job: its record was removed, or the head restarted without its state."


class Followers(Protocol):
    """What reads the logs of the jobs."""

    def drop_replaced(self, jobs: Iterable[JobInfo]) -> None: ...

    async def update(self, jobs: Sequence[JobInfo]) -> None: ...

    def lose(self, submission_ids: Iterable[str]) -> None: ...


class Explanations(Protocol):
    """What asks why a job failed or waits."""

    def ask(self, submission_id: str, before: str | None = None) -> None: ...


@dataclass
class _Active:
    """A job that had not ended at the last look that found it.

    Attributes:
        status: Its status.
        head: The head that answered then, see `Watch._read_head`.
        absences: The looks in a row that did not find it.
        explain_at: When it is explained if it still waits, of the monotonic clock.
    """

    status: str
    head: str | None
    explain_at: float
    absences: int = 0


class Watch:
    """Looks at the jobs again and again, and records them.

    Args:
        connection: The cluster.
        store: Where the jobs are recorded.
        followers: Gets the listed jobs after each look.
        explanations: Gets the jobs that failed, are lost or wait for long.
        problems: Where problems are recorded: `ray` and `jobs`.
    """

    def __init__(
        self,
        connection: Connection,
        store: Store,
        followers: Followers,
        explanations: Explanations,
        problems: Problems,
    ) -> None:
        self._client = connection.client
        self._orphans = connection.watcher.orphans
        self._store = store
        self._followers = followers
        self._explanations = explanations
        self._problems = problems
        self._active: dict[str, _Active] = {}
        self._ended: set[str] = set()
        self._head: str | None = None
        self._is_first = True
        self._recorded: Sequence[JobInfo] | None = None
        self._recorded_in = 0
        self._answered_at = time.monotonic()
        self._recorded_at: float | None = None
        self._pause = LOOK_SECONDS
        self._failure: JobsError | None = None
        self._head_at = 0.0
        self._orphans_at = 0.0
        self._checking: asyncio.Task[bool] | None = None

    @property
    def behind_seconds(self) -> float | None:
        """How long ago the last answer was recorded; None: never."""
        return None if self._recorded_at is None else time.monotonic() - self._recorded_at

    @property
    def is_silent(self) -> bool:
        """Whether Ray did not answer the last look."""
        return self._failure is not None or self._is_first

    async def run(self) -> None:
        """Looks until it is cancelled."""
        backoff, attempt_seconds = Backoff(first=FIRST_PAUSE_SECONDS, longest=LONGEST_PAUSE_SECONDS), ATTEMPT_SECONDS
        try:
            while True:
                began = time.monotonic()
                try:
                    jobs = await self._client.list_jobs(attempt_seconds=attempt_seconds)
                    self._pause = max(LOOK_SECONDS, LIST_PAUSE_FACTOR * (time.monotonic() - began))
                    self._failure, self._answered_at = None, time.monotonic()
                    attempt_seconds = ATTEMPT_SECONDS
                    backoff.reset()
                    self._problems.end("ray", "Ray answers again.")
                    if self._is_first:
                        await self._read_unfinished()
                    is_resting = jobs is self._recorded and not self._active
                    await self._look_at_head(jobs)
                    await self._record(jobs)
                except LedgerFault as fault:
                    self._problems.begin("jobs", fault.message)
                    await asyncio.sleep(self._pause)
                except JobsError as error:
                    self._failure, self._head_at = error, 0.0
                    attempt_seconds = min(LIST_SECONDS, 2 * attempt_seconds)
                    self.report()
                    await backoff.pause()
                else:
                    self._is_first, self._recorded_at = False, time.monotonic()
                    self._problems.end("jobs", "The jobs are recorded again.")
                    await asyncio.sleep(max(self._pause, RESTING_LOOK_SECONDS) if is_resting else self._pause)
        finally:
            if self._checking is not None:
                self._checking.cancel()

    def report(self) -> None:
        """Records the problem that Ray is silent, if it is. To be called every few seconds: a request may take minutes
        to fail."""
        silent = time.monotonic() - self._answered_at
        is_refused = isinstance(self._failure, NotAllowed)
        if silent < max(SILENT_SECONDS, 2 * self._pause) and not is_refused:
            return
        at = datetime.fromtimestamp(time.time() - silent, timezone.utc)
        reason = f": {self._failure.message}" if self._failure else "."
        word = "has accepted no request" if is_refused else "has not answered"
        self._problems.begin("ray", f"Ray {word} since {at:%Y-%m-%d %H:%M:%S} UTC{reason}")

    async def _look_at_head(self, jobs: Sequence[JobInfo]) -> None:
        """Looks which head answers if it may be another one now, and from time to time. Raises LedgerFault."""
        now = time.monotonic()
        listed = {job.submission_id for job in jobs}
        if now < self._head_at and all(each in listed for each in self._active):
            return
        before, head = self._head, await self._read_head()
        self._head_at = now + HEAD_SECONDS
        is_same = head is not None and before is not None and is_same_head(before, head)
        if head is None or (before is not None and is_same and (NODE in before or NODE not in head)):
            return  # Nothing new.
        replaces = None if is_same else before
        await self._store.run(lambda keeping: keeping.record_head(head, replaces=replaces))
        self._head = head

    async def _read_head(self) -> str | None:
        """Returns the session and the node of the head; None: Ray does not say it.

        A head with fault tolerance keeps the session of the one before. While that one counts as alive, the newer one
        is the head. One that has just started does not know its node yet.
        """
        with contextlib.suppress(JobsError):
            session = (await self._client.version(Deadline(HEAD_REQUEST_SECONDS))).get("session_name")
            if not isinstance(session, str) or not session:
                return None
            with contextlib.suppress(JobsError):
                nodes = await query_state(self._client.http, "nodes", {"state": "ALIVE"})
                heads = [node for node in nodes if node.get("is_head_node") and node.get("node_id")]
                if heads:
                    newest = max(heads, key=lambda node: node.get("start_time_ms") or 0)
                    return f"{session}{NODE}{newest['node_id']}"
            return session
        return None

    async def _record(self, jobs: Sequence[JobInfo]) -> None:
        if jobs is self._recorded and not self._active and self._recorded_in == self._store.opened:
            return  # Nothing has changed, and nothing can be lost.
        self._recorded = None
        # From here on, what is appended under the id of a job that was submitted again belongs to the new one.
        self._followers.drop_replaced(jobs)
        await self._store.run(lambda keeping: keeping.record_seen(jobs))
        self._compare(jobs)
        await self._record_lost({job.submission_id for job in jobs})
        await self._followers.update(jobs)
        self._check_orphans(jobs)
        self._recorded, self._recorded_in = jobs, self._store.opened

    async def _read_unfinished(self) -> None:
        """Reads the jobs that had not ended when the keeper stopped. Raises LedgerFault."""
        entries, head = await self._store.run(lambda keeping: (keeping.unfinished(), keeping.head()))
        explain_at = time.monotonic() + WAITS_SECONDS
        self._head = head
        self._active = {
            entry.submission_id: _Active(entry.status, head, explain_at) for entry in entries if not entry.ended
        }

    def _compare(self, jobs: Iterable[JobInfo]) -> None:
        """Compares the jobs with the last look."""
        now = time.monotonic()
        ended = set()
        for job in jobs:
            submission_id, known = job.submission_id, self._active.get(job.submission_id)
            if job.ended:
                ended.add(submission_id)
                is_news = known is not None or not (self._is_first or submission_id in self._ended)
                if job.status == "FAILED" and is_news:
                    self._explanations.ask(submission_id)
                self._active.pop(submission_id, None)
                continue
            if known is None:
                known = self._active[submission_id] = _Active(job.status, self._head, now + WAITS_SECONDS)
            known.status, known.head, known.absences = job.status, self._head, 0
            if job.status == "PENDING" and now >= known.explain_at:
                known.explain_at = now + WAITS_AGAIN_SECONDS
                self._explanations.ask(submission_id)
        self._ended = ended

    async def _record_lost(self, listed: set[str]) -> None:
        reasons: dict[str, list[str]] = {}
        for submission_id, known in self._active.items():
            if submission_id not in listed:
                known.absences += 1
                if known.absences >= LOOKS_UNTIL_LOST:
                    is_replaced = known.head and self._head and not is_same_head(known.head, self._head)
                    reasons.setdefault(REPLACED if is_replaced else FORGOTTEN, []).append(submission_id)
        for reason, lost in reasons.items():
            await self._lose(lost, reason)

    async def _lose(self, lost: Sequence[str], reason: str) -> None:
        await self._store.run(lambda keeping: keeping.record_lost(lost, reason))
        self._followers.lose(lost)
        for submission_id in lost:
            self._explanations.ask(submission_id, self._active.pop(submission_id).status)

    def _check_orphans(self, jobs: Sequence[JobInfo]) -> None:
        """Makes Ray look at jobs whose driver may be dead, beside the looks. See orphans."""
        now = time.monotonic()
        is_idle = self._checking is None or self._checking.done()
        if is_idle and now >= self._orphans_at and self._active:
            self._orphans_at = now + ORPHANS_SECONDS
            self._checking = asyncio.ensure_future(self._orphans.wake_job_manager_if_any_orphaned(jobs))


def is_same_head(one: str, other: str) -> bool:
    """Returns whether two texts of `Watch._read_head` are of one head, as far as they say it."""
    (session, _, node), (other_session, _, other_node) = one.partition(NODE), other.partition(NODE)
    return session == other_session and (node == other_node or not node or not other_node)
