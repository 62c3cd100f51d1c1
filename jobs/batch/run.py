"""Many jobs over one connection: a bounded number at a time, one list request a poll whatever their number."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial

from ..dashboard.logs import Limits
from ..deadline import Deadline
from ..errors import (
    Conflict,
    DeadlinePassed,
    JobsError,
    Refused,
    ServerFault,
    UnknownJob,
    Unreachable,
)
from ..ledger.recorder import Recorder, origin_of
from ..ledger.store import Origin, TailBuffer
from ..retries import RetryPolicy, attempt_id, judge
from ..session import STOP_SECONDS, Session, in_thread
from ..spec.job_info import LOST, JobInfo, Result
from ..spec.job_spec import JobSpec, difference
from ..upload.pack import Plan
from .jobs_file import Batch, BatchJob
from .prepare import SharedUpload, spec_of

WAITING, SUBMITTING, ERROR = "WAITING", "SUBMITTING", "ERROR"
POLL_SECONDS = 1.0
# A job counts as lost after so many lists without it: a head that comes back reads its store first.
ABSENCES = 3
# How long the end of a batch may wait for logs that are still being read for the ledger.
TAILS_SECONDS = 30.0
# How long after an interrupt a submission that was being sent may still reach the server.
ARRIVES_SECONDS = 3.0


@dataclass(frozen=True)
class Options:
    """`concurrency`: jobs that are submitted and have not ended; with `wait` off, submissions at a time."""

    concurrency: int = 8
    resume: bool = False
    wait: bool = True
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    queue_seconds: float | None = None
    start_seconds: float | None = None
    run_seconds: float | None = None
    submit_seconds: float = 120.0


@dataclass
class Track:
    """One job of the batch on its way. `status` is the server's, or WAITING, SUBMITTING, ERROR, LOST."""

    job: BatchJob
    spec: JobSpec
    plan: Plan | None
    attempt: int = 0
    status: str = WAITING
    info: JobInfo | None = None
    result: Result | None = None
    error: JobsError | None = None
    since: float = 0.0
    limits: Limits | None = None
    absences: int = 0
    # Once one of its limits has passed: what to report, and how long its stop may take.
    passed: DeadlinePassed | None = None
    stopping: Deadline = field(default_factory=lambda: Deadline(None))

    @property
    def base(self) -> str:
        assert self.job.request.submission_id is not None
        return self.job.request.submission_id

    @property
    def submission_id(self) -> str:
        return attempt_id(self.base, self.attempt)

    @property
    def source(self) -> str | None:
        """The working directory as it was given."""
        return self.plan.source if self.plan else self.job.request.working_dir

    @property
    def accepted(self) -> bool:
        """The server has it, and it has not ended."""
        return not self.done and self.status not in (WAITING, SUBMITTING)

    @property
    def done(self) -> bool:
        return self.result is not None or self.error is not None

    @property
    def exit_code(self) -> int | None:
        if self.error is not None:
            return self.error.exit_code
        return self.result.exit_code if self.result else None


class BatchRun:
    """One batch on one cluster. `on_change` is told of every track that changed."""

    def __init__(
        self,
        session: Session,
        batch: Batch,
        plans: Mapping[str, Plan],
        options: Options,
        recorder: Recorder,
        on_change: Callable[[Track], None] = lambda _track: None,
    ) -> None:
        self.session = session
        self.batch = batch
        self.plans = plans
        self.options = options
        self.recorder = recorder
        self.on_change = on_change
        self.tracks: list[Track] = []
        self._packages = {uri: SharedUpload() for uri in plans}
        self._origins: dict[str | None, Origin] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._tails: set[asyncio.Task[None]] = set()
        self._reading = asyncio.Semaphore(2)
        self._next_poll = 0.0

    async def run(self) -> list[Track]:
        """Runs it to its end, or (without `wait`) until all is submitted.

        Raises Refused (the batch is there and `resume` is off), Conflict, and Unreachable or NotAllowed when the
        server is out of reach for the session's patience: what was submitted goes on, and `resume` continues.
        """
        self.tracks = [
            Track(job, spec_of(job.request), self.plans.get(job.request.working_dir or "")) for job in self.batch.jobs
        ]
        for track in self.tracks:
            if track.source not in self._origins:
                self._origins[track.source] = await in_thread(partial(origin_of, track.source, batch=self.batch.name))
        await self._look_what_is_there()
        try:
            while not all(track.done or (track.accepted and not self.options.wait) for track in self.tracks):
                self._start_some()
                await self._pause()
                if self.options.wait and any(track.accepted for track in self.tracks):
                    await self._poll()
            if self._tails:
                await asyncio.wait(self._tails, timeout=TAILS_SECONDS)
        finally:
            for task in (*self._tasks, *self._tails):
                task.cancel()
            await asyncio.gather(*self._tasks, *self._tails, return_exceptions=True)
        return self.tracks

    async def stop_all(self) -> None:
        """Asks for the stop of every job that is on the server, or may be since it was just being sent."""
        under_way = [track for track in self.tracks if not track.done and track.status != WAITING]
        await asyncio.gather(*(self._stop(track) for track in under_way))

    async def _stop(self, track: Track) -> None:
        arrives = Deadline(ARRIVES_SECONDS)
        while not arrives.passed:
            try:
                return await self.session.client.stop(track.submission_id)
            except JobsError as error:  # The others are to be stopped all the same.
                if track.status != SUBMITTING or not isinstance(error, UnknownJob):
                    return self.session.note(f"Job {track.submission_id} could not be stopped: {error.what}")
            await asyncio.sleep(0.5)
        return None  # It never arrived.

    async def _look_what_is_there(self) -> None:
        there = await self._list()
        found, conflicts = 0, []
        for track in self.tracks:
            while attempt_id(track.base, track.attempt + 1) in there:
                track.attempt += 1
            info = there.get(track.submission_id)
            if info is not None:
                found += 1
                if info.digest != track.spec.digest:
                    conflicts.append(f"{track.submission_id}: {difference(track.spec, info)}")
                elif self.options.resume:
                    self.recorder.submitting(track.submission_id, track.spec, self._origin(track))
                    self._attach(track, info)
            elif self.options.resume:
                self._recall(track)
        if found and not self.options.resume:
            raise Refused(
                f"The batch {self.batch.name} was submitted before: {found} of its {len(self.tracks)} jobs are there.",
                "--resume continues it; --batch NAME submits it again under another name.",
            )
        if conflicts:
            raise Conflict("\n  ".join(["Jobs of this batch are there with other content:", *conflicts[:5]]))
        self.recorder.seen(track.info for track in self.tracks if track.info is not None)

    async def _list(self) -> dict[str, JobInfo]:
        listed = await self.session.client.list(Deadline(self.session.patience))
        return {job.submission_id: job for job in listed}

    def _attach(self, track: Track, info: JobInfo) -> None:
        track.limits = self._limits()
        self._saw(track, info)

    def _recall(self, track: Track) -> None:
        """What the ledger knows of a job that the server does not have."""
        known = self.recorder.known(track.submission_id, track.spec)
        if known is not None and known.ended:
            self._finish(track, Result(track.submission_id, known.status, known))
        elif known is not None:
            self._lost(track)

    def _limits(self) -> Limits:
        return Limits(self.options.queue_seconds, self.options.start_seconds, self.options.run_seconds)

    def _start_some(self) -> None:
        busy = sum(
            track.status == SUBMITTING or (self.options.wait and track.accepted)
            for track in self.tracks
            if not track.done
        )
        for track in self.tracks:
            if busy >= self.options.concurrency:
                return
            if track.status == WAITING and not track.done:
                busy += 1
                self._set(track, SUBMITTING)
                self._tasks.add(asyncio.create_task(self._submit(track)))

    async def _submit(self, track: Track) -> None:
        if track.plan is not None:
            await self._packages[track.plan.uri].ensure(self.session, track.plan)
        deadline = Deadline(self.options.submit_seconds)  # for the acceptance; the upload has its own
        self.recorder.submitting(track.submission_id, track.spec, self._origin(track))
        try:
            await self.session.client.submit(track.spec, track.submission_id, deadline=deadline, note=self.session.note)
        except JobsError as error:
            if isinstance(error, Unreachable) and not isinstance(error, ServerFault):
                raise  # Not this job's trouble but everybody's.
            track.error = error
            if isinstance(error, Refused):
                self.recorder.status(track.submission_id, "REFUSED")
            self._set(track, ERROR)
            return
        track.limits = self._limits()
        self.recorder.status(track.submission_id, "PENDING")
        self._set(track, "PENDING")

    def _origin(self, track: Track) -> Origin:
        attempt_of = track.base if track.attempt else None
        return replace(self._origins[track.source], attempt_of=attempt_of, attempt=track.attempt)

    async def _pause(self) -> None:
        """Until a submission is through, or the next poll is due. Raises what a submission raised."""
        if self._tasks:
            done, self._tasks = await asyncio.wait(
                self._tasks, timeout=POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            errors = [error for task in done if (error := task.exception()) is not None]
            if errors:
                raise errors[0]
        else:
            await asyncio.sleep(POLL_SECONDS)

    async def _poll(self) -> None:
        now = time.monotonic()
        if now < self._next_poll:
            return
        known = [track for track in self.tracks if track.accepted]
        there = await self._list()
        # A list of thousands takes the server a while: it is not asked all the time.
        self._next_poll = time.monotonic() + max(POLL_SECONDS, 4 * (time.monotonic() - now))
        changed = []
        for track in known:
            info = there.get(track.submission_id)
            if info is None:
                track.absences += 1
                if track.absences >= ABSENCES:
                    self._lost(track)
                continue
            track.absences = 0
            if track.info is None or track.info.status != info.status:
                changed.append(info)
            self._saw(track, info)
            if not track.done:
                await self.session.client.orphans.wake(info)
                await self._check_limits(track)
        self.recorder.seen(changed)

    def _saw(self, track: Track, info: JobInfo) -> None:
        before, track.info = track.status, info
        if info.ended:
            self._tails.add(asyncio.create_task(self._keep_tail(info)))
            self._finish(track, Result(track.submission_id, info.status, info))
        elif info.status != before:
            self._set(track, info.status)

    async def _keep_tail(self, info: JobInfo) -> None:
        """The end of an ended job's log, for the ledger: best effort, a few at a time, beside everything else."""
        follower = self.session.follower(info.submission_id, follow=False, seen=True)
        follower.info = info
        buffer = TailBuffer()
        with contextlib.suppress(JobsError):
            async with self._reading, aclosing(follower.chunks()) as chunks:
                async for chunk in chunks:
                    buffer.feed(chunk)
            self.recorder.tail(info.submission_id, buffer)

    def _lost(self, track: Track) -> None:
        self.recorder.status(track.submission_id, LOST)
        self._finish(track, Result(track.submission_id, LOST, track.info))

    def _finish(self, track: Track, result: Result) -> None:
        if track.passed is not None and result.status == "STOPPED":
            track.error = DeadlinePassed(f"{track.passed.what} It was stopped.", track.passed.remedy)
            self._set(track, result.status)
            return
        verdict = judge(self.options.policy, result, track.attempt + 1)
        if verdict.again and self.options.wait:
            self.session.note(f"Job {track.submission_id}: another attempt, since {verdict.why}.")
            track.attempt, track.absences, track.info = track.attempt + 1, 0, None
            self._set(track, WAITING)
            return
        track.result = result
        self._set(track, result.status)

    async def _check_limits(self, track: Track) -> None:
        if track.passed is not None:
            if track.stopping.passed:
                track.error = DeadlinePassed(f"{track.passed.what} It was asked to stop and has not ended.")
                self._set(track, ERROR)
            return
        try:
            if track.limits is not None:
                track.limits.check(track.submission_id, track.info)
        except DeadlinePassed as passed:
            self.session.note(passed.what)
            track.passed, track.stopping = passed, Deadline(STOP_SECONDS)
            with contextlib.suppress(UnknownJob):
                await self.session.client.stop(track.submission_id)

    def _set(self, track: Track, status: str) -> None:
        track.status, track.since = status, time.time()
        self.on_change(track)
