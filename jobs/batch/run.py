"""Runs many jobs over one connection: a bounded number at a time, one list request for each poll."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from ..background import in_thread
from ..deadline import Deadline
from ..errors import (
    Conflict,
    DeadlinePassed,
    JobsError,
    Refused,
    ServerFault,
    UnknownJob,
    Unreachable,
    number_of,
)
from ..ledger.records import TailBuffer
from ..retries import RetryPolicy, attempt_id, judge
from ..session import STOP_SECONDS, Session
from ..spec.job_info import LOST, JobInfo, Result
from ..spec.job_spec import difference
from ..spec.time_limits import TimeLimits
from ..submit import PreparedJob
from .jobs_file import BatchJob
from .prepare import PreparedBatch

WAITING, SUBMITTING, ERROR = "WAITING", "SUBMITTING", "ERROR"
POLL_SECONDS = 1.0
# Time in which the server is not asked again for the same package.
PACKAGE_SECONDS = 300.0
# How long the end of a batch may wait for logs that are still being read for the ledger, and how many are read at once.
TAILS_SECONDS = 30.0
TAILS_AT_ONCE = 2
# How long after an interrupt a submission that was being sent may still reach the server.
ARRIVAL_SECONDS = 3.0


@dataclass(frozen=True)
class BatchOptions:
    """The options of a batch run. Times are in seconds; None means no limit.

    Args:
        concurrency: The largest number of jobs that have not ended on the server; without `wait`, of submissions at a
            time.
        resume: Continue a batch that was submitted before.
        wait: Wait until all jobs have ended, not only until all are submitted.
        policy: Decides which jobs are tried again.
        queue_seconds: `queue` of TimeLimits, for each attempt.
        start_seconds: `start` of TimeLimits.
        run_seconds: `run` of TimeLimits.
        submit_seconds: Time for the server to accept a job.
    """

    concurrency: int = 8
    resume: bool = False
    wait: bool = True
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    queue_seconds: float | None = None
    start_seconds: float | None = None
    run_seconds: float | None = None
    submit_seconds: float = 120.0

    def limits(self) -> TimeLimits:
        """Returns the limits of an attempt that begins now."""
        return TimeLimits(self.queue_seconds, self.start_seconds, self.run_seconds)


@dataclass
class BatchItem:
    """One job of a running batch.

    Attributes:
        job: The job.
        first: Its first attempt.
        attempt: The number of the current attempt, from 0.
        status: The server's; or WAITING, SUBMITTING, ERROR, LOST.
        info: The last record of the attempt.
        result: The end of the job.
        error: Why it has no result.
        since: When the status changed last, in seconds since the epoch.
        reason: Why it is still PENDING, if that is known.
        limits: Time limits of the current attempt.
        expired_limit: The limit that was exceeded; None before.
        stop_deadline: By when the job must have stopped after that.
    """

    job: BatchJob
    first: PreparedJob
    attempt: int = 0
    status: str = WAITING
    info: JobInfo | None = None
    result: Result | None = None
    error: JobsError | None = None
    since: float = 0.0
    reason: str = ""
    limits: TimeLimits | None = None
    expired_limit: DeadlinePassed | None = None
    stop_deadline: Deadline = field(default_factory=lambda: Deadline(None))

    @property
    def base(self) -> str:
        """The id of the first attempt."""
        return self.first.submission_id

    @property
    def submission_id(self) -> str:
        """The id of the current attempt."""
        return attempt_id(self.base, self.attempt)

    @property
    def prepared(self) -> PreparedJob:
        """The current attempt."""
        attempt_of = self.base if self.attempt else None
        origin = replace(self.first.origin, attempt_of=attempt_of, attempt=self.attempt)
        return replace(self.first, submission_id=self.submission_id, origin=origin)

    @property
    def accepted(self) -> bool:
        """Whether the server has it and it has not ended."""
        return not self.done and self.status not in (WAITING, SUBMITTING)

    @property
    def done(self) -> bool:
        return self.result is not None or self.error is not None

    @property
    def exit_code(self) -> int | None:
        """None until it is done."""
        if self.error is not None:
            return self.error.exit_code
        return self.result.exit_code if self.result else None


class BatchRun:
    """One batch on one cluster.

    Args:
        session: A session that records.
        batch: The jobs.
        options: The options of the run.
        on_change: Called with every item whose status changed.
    """

    def __init__(
        self,
        session: Session,
        batch: PreparedBatch,
        options: BatchOptions,
        on_change: Callable[[BatchItem], None] = lambda _item: None,
    ) -> None:
        if session.recorder is None:
            raise ValueError("a batch needs a session that records")
        self.session = session
        self.batch = batch
        self.options = options
        self.recorder = session.recorder
        self.on_change = on_change
        self.items: list[BatchItem] = []
        self._submitter = session.submitter(package_seconds=PACKAGE_SECONDS)
        self._poller = session.watcher.poller(by_list=True, known_to_exist=True)
        self._poll_at = 0.0
        self._submissions: set[asyncio.Task[None]] = set()
        self._tails: set[asyncio.Task[None]] = set()
        self._tail_gate = asyncio.Semaphore(TAILS_AT_ONCE)

    async def run(self) -> list[BatchItem]:
        """Runs the batch to its end, or (without `wait`) until all jobs are submitted.

        Raises:
            Refused: The batch exists and `resume` is off, or a package cannot be sent.
            Conflict: Jobs of the batch exist with other content.
            Unreachable, NotAllowed: The server did not answer for the session's patience. Submitted jobs keep running,
                and `resume` continues the batch.
        """
        self.items = [BatchItem(job, first) for job, first in zip(self.batch.jobs, self.batch.submissions, strict=True)]
        await self._find_existing()
        try:
            while not all(item.done or (item.accepted and not self.options.wait) for item in self.items):
                self._start_submissions()
                await self._wait_for_submissions()
                if self.options.wait and any(item.accepted for item in self.items):
                    await self._poll()
            if self._tails:
                await asyncio.wait(self._tails, timeout=TAILS_SECONDS)
        finally:
            for task in (*self._submissions, *self._tails):
                task.cancel()
            await asyncio.gather(*self._submissions, *self._tails, return_exceptions=True)
        return self.items

    async def stop_all(self) -> None:
        """Asks for the stop of every job that is on the server, or that may be because it was being sent."""
        active = [item for item in self.items if not item.done and item.status != WAITING]
        await asyncio.gather(*(self._stop(item) for item in active))

    async def _stop(self, item: BatchItem) -> None:
        arrival = Deadline(ARRIVAL_SECONDS)
        while not arrival.passed:
            try:
                return await self.session.client.stop_job(item.submission_id)
            except JobsError as error:  # The other jobs are still stopped.
                if item.status != SUBMITTING or not isinstance(error, UnknownJob):
                    return self.session.notify(f"Job {item.submission_id} could not be stopped: {error.message}")
            await asyncio.sleep(0.5)
        return None  # It never arrived.

    async def _find_existing(self) -> None:
        """Attaches to jobs of an earlier run. Raises Refused, Conflict."""
        listed = await self.session.client.list_jobs(Deadline(self.session.patience))
        existing = {job.submission_id: job for job in listed}
        count, conflicts = 0, []
        for item in self.items:
            while attempt_id(item.base, item.attempt + 1) in existing:
                item.attempt += 1
        if self.options.resume:
            existing |= await self._find_accepted([item for item in self.items if item.submission_id not in existing])
        for item in self.items:
            job = existing.get(item.submission_id)
            if job is not None:
                count += 1
                if job.digest != item.first.spec.digest:
                    conflicts.append(f"{item.submission_id}: {difference(item.first.spec, job)}")
                elif self.options.resume:
                    self.recorder.record_submission(item.submission_id, item.first.spec, item.prepared.origin)
                    item.limits = self.options.limits()
                    self._update(item, job)
            elif self.options.resume:
                self._recall(item)
        if count and not self.options.resume:
            raise Refused(
                f"The batch {self.batch.name} was submitted before: the server has {count} of "
                f"{number_of(len(self.items), 'job')}.",
                "--resume continues it; --batch NAME submits it again under another name.",
            )
        if conflicts:
            raise Conflict("\n  ".join(["Jobs of this batch exist with other content:", *conflicts[:5]]))
        self.recorder.record_jobs(item.info for item in self.items if item.info is not None)

    async def _find_accepted(self, items: Sequence[BatchItem]) -> dict[str, JobInfo]:
        """Looks for jobs that the server accepted and does not list, until each is found or lost."""
        recorded = {item.submission_id: self.recorder.find_job(item.submission_id, item.first.spec) for item in items}
        absent = [each for each, job in recorded.items() if job is not None and not job.ended]
        jobs: dict[str, JobInfo] = {}
        while absent:
            jobs |= {job.submission_id: job for job in await self._poller.poll(absent, self.session.patience)}
            absent = [each for each in absent if each not in jobs and each not in self._poller.lost]
            if absent:
                await asyncio.sleep(self._poller.pause)
        return jobs

    def _recall(self, item: BatchItem) -> None:
        """Takes the result of a job that the server does not have from the ledger."""
        job = self.recorder.find_job(item.submission_id, item.first.spec)
        if job is not None and job.ended:
            self._finish(item, Result(item.submission_id, job.status, job))
        elif job is not None:
            self._lose(item)

    def _start_submissions(self) -> None:
        busy = sum(
            item.status == SUBMITTING or (self.options.wait and item.accepted) for item in self.items if not item.done
        )
        for item in self.items:
            if busy >= self.options.concurrency:
                return
            if item.status == WAITING and not item.done:
                busy += 1
                self._set_status(item, SUBMITTING)
                self._submissions.add(asyncio.create_task(self._submit(item)))

    async def _submit(self, item: BatchItem) -> None:
        for plan in item.first.plans:
            # A package that cannot be sent ends the batch, not only the job: other jobs need it too.
            await self._submitter.packages.provide(plan.uri, plan)
        try:
            await self._submitter.submit(item.prepared, seconds=self.options.submit_seconds)
        except JobsError as error:
            if isinstance(error, Unreachable) and not isinstance(error, ServerFault):
                raise  # It concerns all jobs.
            item.error = error
            self._set_status(item, ERROR)
            return
        item.limits = self.options.limits()
        self._set_status(item, "PENDING")

    async def _wait_for_submissions(self) -> None:
        """Waits until a submission is done, or the next poll is due. Raises the error of a submission."""
        if not self._submissions:
            await asyncio.sleep(POLL_SECONDS)
            return
        done, self._submissions = await asyncio.wait(
            self._submissions, timeout=POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        errors = [error for task in done if (error := task.exception()) is not None]
        if errors:
            raise errors[0]

    async def _poll(self) -> None:
        if time.monotonic() < self._poll_at:
            return
        items = {item.submission_id: item for item in self.items if item.accepted}
        jobs = await self._poller.poll(items, self.session.patience)
        self._poll_at = time.monotonic() + self._poller.pause
        changed = []
        for job in jobs:
            item = items[job.submission_id]
            if item.info is None or item.info.status != job.status:
                changed.append(job)
            self._update(item, job)
            if not item.done:
                await self._check_limits(item)
        for submission_id in self._poller.lost & items.keys():
            self._lose(items[submission_id])
        self.recorder.record_jobs(changed)

    def _update(self, item: BatchItem, job: JobInfo) -> None:
        before, item.info = item.status, job
        item.reason = self.session.describe(job)
        if job.ended:
            self._tails.add(asyncio.create_task(self._record_tail(job)))
            self._finish(item, Result(item.submission_id, job.status, job))
        elif job.status != before:
            self._set_status(item, job.status)

    async def _record_tail(self, job: JobInfo) -> None:
        """Reads the log of a job that has ended into the ledger: best effort, beside everything else."""
        follower = self.session.follower(job.submission_id, follow=False, known_to_exist=True)
        follower.job = job
        buffer = TailBuffer()
        with contextlib.suppress(JobsError):
            async with self._tail_gate, aclosing(follower.chunks()) as chunks:
                async for chunk in chunks:
                    buffer.feed(chunk)
            # Redaction of a large log takes a second, in which the other jobs are still followed.
            await in_thread(lambda: self.recorder.record_tail(job.submission_id, buffer))

    def _lose(self, item: BatchItem) -> None:
        self.recorder.record_status(item.submission_id, LOST)
        self._finish(item, Result(item.submission_id, LOST, item.info))

    def _finish(self, item: BatchItem, result: Result) -> None:
        """Sets the result, or begins another attempt."""
        if item.expired_limit is not None and result.status == "STOPPED":
            item.error = DeadlinePassed(f"{item.expired_limit.message} It was stopped.", item.expired_limit.remedy)
            self._set_status(item, result.status)
            return
        verdict = judge(self.options.policy, result, item.attempt + 1)
        if verdict.again and self.options.wait:
            self.session.notify(f"Job {item.submission_id}: another attempt, because {verdict.why}.")
            item.attempt, item.info = item.attempt + 1, None
            self._set_status(item, WAITING)
            return
        item.result = result
        self._set_status(item, result.status)

    async def _check_limits(self, item: BatchItem) -> None:
        if item.expired_limit is not None:
            if item.stop_deadline.passed:
                item.error = DeadlinePassed(f"{item.expired_limit.message} It was asked to stop and has not ended.")
                self._set_status(item, ERROR)
            return
        try:
            if item.limits is not None:
                item.limits.check(item.submission_id, item.info)
        except DeadlinePassed as expired:
            self.session.notify(expired.message)
            item.expired_limit, item.stop_deadline = expired, Deadline(STOP_SECONDS)
            with contextlib.suppress(UnknownJob):
                await self.session.client.stop_job(item.submission_id)

    def _set_status(self, item: BatchItem, status: str) -> None:
        item.status, item.since = status, time.time()
        self.on_change(item)
