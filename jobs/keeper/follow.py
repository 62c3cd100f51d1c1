"""Reads the logs of all jobs, each from the byte where the store stopped.

A log is read in turns: each turn reads what is there, by the agent of the driver's node if that can be reached. A log
that grows has a turn every second, or less often if there are many; one that rests has its turns less and less often.
At the end of its job it has one at once, and is complete if that turn began after the end.

What was read is given to the store before the next piece is read, so that no log is in memory. If the store does not
take it, it is read again later.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial

from ..connection import Connection
from ..dashboard.logs import LogGone, LogReader, LogShrank
from ..errors import JobsError, LedgerFault, UnknownJob
from ..ledger.keeping import Keeping
from ..spec.job_info import JobInfo
from .problems import Problems
from .store import Store

# Turns a second of all logs that grow together, and of all that rest. A turn is a request, about 2 ms of a core.
READS_PER_SECOND, RESTING_READS_PER_SECOND = 50.0, 10.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 10.0
# A job without a driver has no log. The turn comes when it has one.
NO_DRIVER_SECONDS = 3600.0
# After a failure, and for a log that is only there as text, which is read from its beginning each time.
LONGEST_FAILURE_SECONDS, TEXT_SECONDS = 60.0, 60.0
# More of them change no pause.
MOST_DOUBLED = 10
# Reads at once by agents; of jobs that had ended before they were seen; of live streams through the dashboard. An
# HttpClient has 64 connections, and the list needs one.
MOST_READS, MOST_OLD, MOST_STREAMS = 32, 8, 24
# A log of an ended job that Ray could not give so often, while it answered everything else, is given up.
MOST_FAILURES = 10


class _OutOfStep(Exception):
    """The store goes on at another byte than the one that was read."""


@dataclass(eq=False)
class _Log:
    """A log that is read.

    Attributes:
        job: The job's last record.
        reader: Reads it.
        wake: Set if the next turn must not wait.
        is_lost: The server no longer knows the job. One more turn reads what is there.
        is_old: The job had ended when it was seen first.
        is_settled: After the last turn: it is not read again, if its job is still listed.
        is_synced: The reader's offset is where the store stopped.
        rests: The turns in a row without a byte.
        failures: The turns in a row that failed.
        task: Its turns; None: they have not begun.
    """

    job: JobInfo
    reader: LogReader
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    is_lost: bool = False
    is_old: bool = False
    is_settled: bool = True
    is_synced: bool = False
    rests: int = 0
    failures: int = 0
    task: asyncio.Task[None] | None = None

    async def has_ended(self) -> bool:
        return self.job.ended or self.is_lost


class LogFollowers:
    """Reads the logs of the jobs that `update` is given, until each is complete.

    Args:
        connection: The cluster.
        store: Gets the bytes.
        problems: Where problems are recorded: `logs`, and `log ID` of a log that fails in an unforeseen way.
        is_silent: Whether Ray answers nothing now, so that a failure says nothing about one log.
        notify: Called with messages for a person.
        only_wanted: Only logs are read for which `want` was called.
    """

    def __init__(
        self,
        connection: Connection,
        store: Store,
        problems: Problems,
        is_silent: Callable[[], bool],
        notify: Callable[[str], None] = lambda _text: None,
        only_wanted: bool = False,
    ) -> None:
        self._only_wanted = only_wanted
        self._wanted: set[str] = set()
        self._unwanted: dict[str, JobInfo] = {}
        self._connection = connection
        self._store = store
        self._problems = problems
        self._is_silent = is_silent
        self._notify = notify
        self._logs: dict[str, _Log] = {}
        self._done: dict[str, int | None] = {}
        self._opened = store.opened
        self._waiting: list[tuple[int, str]] = []
        self._running_old = 0
        self._streams = 0
        self._reads = asyncio.Semaphore(MOST_READS)
        self._growing: set[_Log] = set()
        self._resting: set[_Log] = set()
        self._has_warned = False

    def drop_replaced(self, jobs: Iterable[JobInfo]) -> None:
        """Ends the reading of logs whose id is now another job's. To be called before that job is recorded."""
        for job in jobs:
            log = self._logs.get(job.submission_id)
            if log is not None and log.job.start_time != job.start_time:
                self._drop(log)
            if self._done.get(job.submission_id, job.start_time) != job.start_time:
                del self._done[job.submission_id]

    async def update(self, jobs: Sequence[JobInfo]) -> None:
        """Takes the jobs that the server lists now, after they were recorded. Raises LedgerFault."""
        if self._opened != self._store.opened:
            # The database was damaged, and a new one has begun.
            self._opened = self._store.opened
            await self.close()
        new = []
        for job in jobs:
            log = self._logs.get(job.submission_id)
            if log is not None:
                before, log.job, log.is_lost = log.job, job, False
                if (before.status, has_driver(before)) != (job.status, has_driver(job)):
                    log.rests = 0
                    log.wake.set()
            elif job.submission_id not in self._done and not job.is_driver:
                new.append(job)
        if self._only_wanted:
            self._unwanted = {job.submission_id: job for job in new if job.submission_id not in self._wanted}
            new = [job for job in new if job.submission_id in self._wanted]
        await self._begin(new)
        listed = {job.submission_id for job in jobs}
        self._done = {id_: start for id_, start in self._done.items() if id_ in listed}
        self._begin_old()

    async def want(self, submission_id: str) -> None:
        """Begins to read the log of a job, now or when the server lists it. See `only_wanted`."""
        self._wanted.add(submission_id)
        if job := self._unwanted.pop(submission_id, None):
            with contextlib.suppress(LedgerFault):  # The next `update` tries it again.
                await self._begin([job])
                self._begin_old()

    async def _begin(self, new: Sequence[JobInfo]) -> None:
        complete = await self._complete([job.submission_id for job in new])
        for job in new:
            if job.submission_id in self._logs or job.submission_id in self._done:
                continue  # Meanwhile it was begun.
            if job.submission_id in complete:
                self._done[job.submission_id] = job.start_time
            else:
                self._add(job)

    async def _complete(self, submission_ids: Sequence[str]) -> set[str]:
        if not submission_ids:
            return set()
        return await self._store.run(lambda keeping: {each for each in submission_ids if keeping.is_log_complete(each)})

    def lose(self, submission_ids: Iterable[str]) -> None:
        """Says that the server no longer knows these jobs."""
        for submission_id in submission_ids:
            if log := self._logs.get(submission_id):
                log.is_lost = True
                log.wake.set()

    async def close(self) -> None:
        """Ends all reading."""
        tasks = [log.task for log in self._logs.values() if log.task is not None]
        for log in list(self._logs.values()):
            self._drop(log)
        self._done.clear()
        self._waiting.clear()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _add(self, job: JobInfo) -> None:
        reader = LogReader(self._connection.client, job.submission_id, notify=self._warn)
        log = self._logs[job.submission_id] = _Log(job, reader, is_old=job.ended)
        if log.is_old:
            heapq.heappush(self._waiting, (-(job.start_time or 0), job.submission_id))
        else:
            log.task = asyncio.ensure_future(self._follow(log))

    def _begin_old(self) -> None:
        """Begins with the newest logs of jobs that had ended before they were seen."""
        while self._waiting and self._running_old < MOST_OLD:
            log = self._logs.get(heapq.heappop(self._waiting)[1])
            if log is not None and log.is_old and log.task is None:
                self._running_old += 1
                log.task = asyncio.ensure_future(self._follow(log))
                log.task.add_done_callback(self._end_old)

    def _end_old(self, _task: asyncio.Task[None]) -> None:
        self._running_old -= 1
        self._begin_old()

    def _drop(self, log: _Log) -> None:
        self._growing.discard(log)
        self._resting.discard(log)
        self._end_problem(log)
        if self._logs.get(log.job.submission_id) is log:
            del self._logs[log.job.submission_id]
        if log.task is not None:
            log.task.cancel()

    async def _follow(self, log: _Log) -> None:
        """Reads a log to its end."""
        submission_id = log.job.submission_id
        while not await self._turn(log):
            await self._rest(log)
        if log.is_settled:
            self._done[submission_id] = log.job.start_time
        log.task = None
        self._drop(log)

    async def _rest(self, log: _Log) -> None:
        """Waits until the next turn."""
        alarm = asyncio.get_running_loop().call_later(self._pause(log), log.wake.set)
        try:
            await log.wake.wait()
        finally:
            alarm.cancel()
            log.wake.clear()

    def _pause(self, log: _Log) -> float:
        if log.failures:
            return min(LONGEST_FAILURE_SECONDS, 2.0 ** min(log.failures - 1, MOST_DOUBLED))
        if log.reader.by_text:
            return TEXT_SECONDS
        if log in self._growing:
            return max(FIRST_PAUSE_SECONDS, len(self._growing) / READS_PER_SECOND)
        if log in self._resting:
            pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 1.5 ** min(log.rests, MOST_DOUBLED))
            return max(pause, len(self._resting) / RESTING_READS_PER_SECOND)
        return NO_DRIVER_SECONDS

    async def _turn(self, log: _Log) -> bool:
        """Reads what is there. Returns whether that was the last turn."""
        try:
            is_last = await self._try(log)
            self._end_problem(log)
            return is_last
        except UnknownJob:
            return True  # It was removed, or is too old to be kept.
        except (LedgerFault, _OutOfStep) as fault:
            # What was not taken is read again.
            log.is_synced = False
            log.failures += 1
            if isinstance(fault, LedgerFault):
                self._problems.begin("logs", fault.message)
            return False
        except Exception as error:  # Whatever one log has, it is tried again, and the other logs go on.
            log.is_synced = False
            log.failures += 1
            text = f"The log of {log.job.submission_id} cannot be read: {type(error).__name__}: {error}"
            self._problems.begin(f"log {log.job.submission_id}", text)
            return (log.job.ended or log.is_lost) and log.failures >= MOST_FAILURES

    def _end_problem(self, log: _Log) -> None:
        submission_id = log.job.submission_id
        self._problems.end(f"log {submission_id}", f"The problem with the log of {submission_id} is over.")

    async def _try(self, log: _Log) -> bool:
        job, is_lost = log.job, log.is_lost
        is_last = job.ended or is_lost
        log.is_settled = job.ended or not is_lost  # A lost job may come back.
        if not log.is_synced:
            log.reader.offset = await self._store.run(lambda keeping: keeping.next_byte(job.submission_id))
            log.is_synced = True
        before = log.reader.offset
        try:
            await self._read(log, job)
        except LogShrank:
            await self._store.run(lambda keeping: keeping.begin_log_again(job.submission_id))
            log.reader.offset = 0
            log.wake.set()
            return False
        except (LedgerFault, UnknownJob):
            raise
        except (LogGone, JobsError) as error:
            log.failures += 1
            if not is_last or not (is_lost or isinstance(error, LogGone) or await self._is_beyond_reach(log, job)):
                return False
            await self._store.run(lambda keeping: keeping.finish_log(job.submission_id, complete=False))
            return True
        if is_last:
            await self._store.run(lambda keeping: keeping.finish_log(job.submission_id, complete=job.ended))
            return True
        log.failures = 0
        grew = log.reader.offset > before
        log.rests = 0 if grew else log.rests + 1
        self._growing.discard(log)
        self._resting.discard(log)
        if has_driver(job):
            (self._growing if grew else self._resting).add(log)
        return False

    async def _is_beyond_reach(self, log: _Log, job: JobInfo) -> bool:
        """Returns whether nobody can read more of the log of an ended job."""
        if self._is_silent():
            return False
        return log.failures >= MOST_FAILURES or await self._connection.watcher.orphans.is_dead(job.driver_node_id)

    async def _read(self, log: _Log, job: JobInfo) -> None:
        """Gives the store what the log has now; without an agent, what it gets until the job has ended."""
        is_live = has_driver(job) and not (job.ended or log.is_lost or await log.reader.has_agent(job))
        if not is_live:
            async with self._reads:
                await self._copy(log, job, None)
        elif self._streams < MOST_STREAMS:  # Else it waits for the end of its job, or of a stream.
            self._streams += 1
            try:
                await self._copy(log, job, log.has_ended)
            finally:
                self._streams -= 1

    async def _copy(self, log: _Log, job: JobInfo, has_ended: Callable[[], Awaitable[bool]] | None) -> None:
        async with aclosing(log.reader.read(job, has_ended)) as pieces:
            async for piece in pieces:
                at = log.reader.offset - len(piece)
                await self._store.run(partial(_append, job.submission_id, at, piece))

    def _warn(self, text: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            self._notify(text)


def has_driver(job: JobInfo) -> bool:
    """Returns whether the job has a node on which its log may be."""
    return job.driver_node_id is not None or job.driver_agent_http_address is not None


def _append(submission_id: str, at: int, data: bytes, keeping: Keeping) -> None:
    """Appends bytes that begin at byte `at` of the log.

    Raises:
        _OutOfStep: The store goes on at another byte: meanwhile its database was set aside, or a write failed.
        UnknownJob, LedgerFault
    """
    if keeping.next_byte(submission_id) != at:
        raise _OutOfStep
    keeping.append_log(submission_id, data)
