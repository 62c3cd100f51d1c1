"""Reads jobs, waits for their end, and decides which job is lost.

Two decisions are made here and nowhere else:

- A job is lost if it is known to have existed and LOOKS_UNTIL_LOST looks in a row, at least a second apart, do not find
  it. A head that restarts knows its jobs only after it has read its store, so one look is not enough. A job that is not
  known to have existed is unknown at the first look.
- Ray is made to check jobs whose driver's node is dead (see orphans).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from itertools import islice

from ..activity import activity
from ..deadline import Deadline
from ..errors import DeadlinePassed, Unreachable, command, number_of
from ..spec.job_info import JobInfo, lost
from ..spec.submission_id import has_form_of_job_id
from .client import RayJobsApi, unknown_job
from .orphans import CHECKING, SETTLE_SECONDS, OrphanCheck

LOOKS_UNTIL_LOST = 3
LOOK_SECONDS = 1.0
# A list of thousands takes the server a while: the pause after it is this many times as long.
LIST_PAUSE_FACTOR = 4
PATIENCE_SECONDS = 300.0


class JobWatcher:
    """The jobs of one cluster, orphans included."""

    def __init__(self, client: RayJobsApi) -> None:
        self.client = client
        self.orphans = OrphanCheck(client.http)

    async def submission_id_of(self, any_id: str, deadline: Deadline | None = None) -> str:
        """Returns the submission id of the job that has this submission id, or this job id of Ray.

        The server knows which job has a job id. An id that it does not know is returned as it is.
        """
        if not has_form_of_job_id(any_id):
            return any_id
        job = await self.client.find_job(any_id, deadline)
        return any_id if job is None else job.submission_id

    async def get_job(self, submission_id: str, deadline: Deadline | None = None) -> JobInfo:
        """Reads the job; its job id of Ray may be given too. Raises UnknownJob."""
        job = await self.client.find_job(submission_id, deadline)
        if job is not None and await self.orphans.wake_job_manager_if_orphaned(job, at_once=True):
            await _settle()
            job = await self.client.find_job(submission_id, deadline)
        if job is None:
            raise unknown_job(submission_id, self.client.http.where)
        return job

    async def get_jobs(self, submission_ids: Sequence[str]) -> list[JobInfo]:
        """Reads the jobs in the order given, by one list request, or two if a driver's node is dead. Raises
        UnknownJob."""
        jobs = {job.submission_id: job for job in await self.list_jobs()}
        missing = [each for each in submission_ids if each not in jobs]
        if missing:
            raise unknown_job(", ".join(missing), self.client.http.where)
        return [jobs[each] for each in submission_ids]

    async def list_jobs(self, deadline: Deadline | None = None) -> list[JobInfo]:
        """Lists all jobs that the server knows, oldest first, by one list request, or two if a driver's node is
        dead."""
        jobs = await self.client.list_jobs(deadline)
        if await self.orphans.wake_job_manager_if_any_orphaned(jobs):
            await _settle()
            jobs = await self.client.list_jobs(deadline)
        return list(jobs)

    def poller(self, *, by_list: bool = False, known_to_exist: bool = False) -> Poller:
        """Returns a Poller of these jobs."""
        return Poller(self.client, self.orphans, by_list=by_list, known_to_exist=known_to_exist)

    async def wait(
        self,
        submission_ids: Sequence[str],
        *,
        deadline: Deadline | None = None,
        patience: float = PATIENCE_SECONDS,
        longest_pause: float = LOOK_SECONDS,
        known_to_exist: bool = False,
        on_change: Callable[[JobInfo], None] = lambda _job: None,
        describe: Callable[[JobInfo], str] = lambda _job: "",
    ) -> dict[str, JobInfo | None]:
        """Waits until the jobs have ended. Returns their records; None for a job that is lost.

        Args:
            submission_ids: The jobs. One job is read by a request of its own, several by one list request.
            deadline: When all must have ended; never by default.
            patience: Seconds without any answer after which Unreachable is raised.
            longest_pause: Seconds between two looks at one job.
            known_to_exist: The server accepted the jobs, so that one that is absent is lost, not unknown.
            on_change: Called with a job at the first look, and whenever its status has changed.
            describe: Returns what is known about a job that has not ended, for the status line.

        Raises:
            UnknownJob, DeadlinePassed, Unreachable, NotAllowed
        """
        deadline = deadline or Deadline(None)
        poller = self.poller(by_list=len(submission_ids) > 1, known_to_exist=known_to_exist)
        last: dict[str, JobInfo] = {}
        ended: dict[str, JobInfo | None] = {}
        pause = min(0.1, longest_pause)
        jobs = f"job {submission_ids[0]}" if len(submission_ids) == 1 else number_of(len(submission_ids), "job")
        with activity(f"Waiting for {jobs} to end", deadline) as wait:
            while True:
                waiting = [each for each in dict.fromkeys(submission_ids) if each not in ended]
                try:
                    for job in await poller.poll(waiting, min(patience, deadline.left)):
                        if (before := last.get(job.submission_id)) is None or before.status != job.status:
                            on_change(job)
                        last[job.submission_id] = job
                        if job.ended:
                            ended[job.submission_id] = job
                    wait.detail = _state(last, describe)
                except Unreachable:
                    if not deadline.passed:
                        raise
                ended |= dict.fromkeys(poller.lost)
                waiting = [each for each in waiting if each not in ended]
                if not waiting:
                    return ended
                if deadline.passed:
                    raise _not_ended(submission_ids, waiting, last, deadline)
                await asyncio.sleep(min(max(pause, poller.pause), max(0.01, deadline.left)))
                pause = min(longest_pause, pause * 1.5)


class Poller:
    """Looks at jobs again and again.

    Args:
        client: The server.
        orphans: Makes Ray check its jobs.
        by_list: One list request for all jobs, instead of a request for each.
        known_to_exist: The server accepted the jobs.

    Attributes:
        lost: The jobs that are lost.
        pause: Seconds to wait before the next look, so that the server has time for other requests.
    """

    def __init__(self, client: RayJobsApi, orphans: OrphanCheck, *, by_list: bool, known_to_exist: bool) -> None:
        self.client = client
        self.orphans = orphans
        self.by_list = by_list
        self.known_to_exist = known_to_exist
        self.lost: set[str] = set()
        self.pause = LOOK_SECONDS if by_list else 0.0
        self._existed: set[str] = set()
        self._absences: Counter[str] = Counter()
        self._counted_at: dict[str, float] = {}

    async def poll(self, submission_ids: Collection[str], patience: float) -> list[JobInfo]:
        """Reads the records that the server has now. Raises UnknownJob; Unreachable after `patience` seconds."""
        jobs = await (self._list if self.by_list else self._find)(submission_ids, Deadline(patience))
        for submission_id in submission_ids:
            if submission_id in jobs:
                self._existed.add(submission_id)
                self._absences.pop(submission_id, None)
            else:
                self._count_absence(submission_id)
        for job in jobs.values():
            await self.orphans.wake_job_manager_if_orphaned(job)
        return list(jobs.values())

    async def look(self, submission_id: str, patience: float) -> JobInfo:
        """Polls until the job is found or counts as lost. Raises JobLost, UnknownJob, Unreachable."""
        while True:
            for job in await self.poll([submission_id], patience):
                return job
            if submission_id in self.lost:
                raise lost(submission_id)
            await asyncio.sleep(LOOK_SECONDS)

    async def _list(self, submission_ids: Collection[str], deadline: Deadline) -> dict[str, JobInfo]:
        began = time.monotonic()
        listed = {job.submission_id: job for job in await self.client.list_jobs(deadline)}
        self.pause = max(LOOK_SECONDS, LIST_PAUSE_FACTOR * (time.monotonic() - began))
        return {each: listed[each] for each in submission_ids if each in listed}

    async def _find(self, submission_ids: Collection[str], deadline: Deadline) -> dict[str, JobInfo]:
        jobs = {each: await self.client.find_job(each, deadline) for each in submission_ids}
        return {each: job for each, job in jobs.items() if job is not None}

    def _count_absence(self, submission_id: str) -> None:
        if not self.known_to_exist and submission_id not in self._existed:
            raise unknown_job(submission_id, self.client.http.where)
        now = time.monotonic()
        if submission_id in self._absences and now < self._counted_at[submission_id] + 0.9 * LOOK_SECONDS:
            return
        self._absences[submission_id] += 1
        self._counted_at[submission_id] = now
        if self._absences[submission_id] >= LOOKS_UNTIL_LOST:
            self.lost.add(submission_id)


async def _settle() -> None:
    with activity(CHECKING, Deadline(SETTLE_SECONDS)):
        await asyncio.sleep(SETTLE_SECONDS)


def _state(last: dict[str, JobInfo], describe: Callable[[JobInfo], str]) -> str:
    """Returns how many jobs are in which state, and what is known about the first that has something to tell."""
    numbers = Counter(job.status for job in last.values())
    counts = [status if len(last) == 1 else f"{number} {status}" for status, number in numbers.items()]
    descriptions = (text for job in last.values() if not job.ended and (text := describe(job)))
    return ", ".join([*counts, *islice(descriptions, 1)])


def _not_ended(
    submission_ids: Sequence[str], waiting: Sequence[str], last: dict[str, JobInfo], deadline: Deadline
) -> DeadlinePassed:
    if len(submission_ids) == 1:
        (submission_id,) = submission_ids
        state = f"is still {last[submission_id].status}" if submission_id in last else "has not ended"
        return DeadlinePassed(
            f"Job {submission_id} {state} after {deadline.seconds:.0f} s.",
            f"{command(f'logs --follow {submission_id}')} follows it, {command(f'stop {submission_id}')} stops it.",
        )
    return DeadlinePassed(
        f"Still waiting for {len(waiting)} of {len(submission_ids)} jobs after {deadline.seconds:.0f} s: "
        f"{', '.join(waiting[:5])}{', ...' if len(waiting) > 5 else ''}."
    )
