"""Jobs on one cluster: submit, follow, wait, stop, delete. The commands and the Python API are thin layers over it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from .connection import Connection, open_connection
from .dashboard.client import SUBMIT_SECONDS, not_submitted
from .dashboard.logs import LogFollower
from .dashboard.waiting import PATIENCE_SECONDS
from .deadline import Deadline
from .errors import DeadlinePassed, JobLost, SourceChanged, Unreachable, command
from .spec.job_info import LOST, JobInfo, Result, lost
from .spec.shown import SENTENCE_LIMIT, shown, visible
from .spec.time_limits import TimeLimits

if TYPE_CHECKING:
    from pathlib import Path

    from .dashboard.submission import Submission
    from .ledger.recorder import Recorder
    from .submit import PreparedJob, Submitter
    from .target.resolve import Target

STOP_SECONDS = 60.0
# Ray does not stop a waiting job before it gets its resources, so wait only briefly.
PENDING_STOP_SECONDS = 10.0
# Times a job is prepared again since files of it vanished.
VANISHED_ATTEMPTS = 2


class Session:
    """Operations on one Ray cluster.

    Args:
        connection: An open connection.
        recorder: Records the session's jobs in the ledger; None: they are not recorded.
        notify: Called with messages for a person.
        describe: Returns what is known about a job that has not ended, for the status line.
        patience: Seconds without any answer after which an operation that waits raises Unreachable.

    Attributes:
        gone_logs: The jobs whose logs were gone from their nodes before they were read to the end.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        recorder: Recorder | None = None,
        notify: Callable[[str], None] = lambda _text: None,
        describe: Callable[[JobInfo], str] = lambda _job: "",
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self.connection = connection
        self.client = connection.client
        self.watcher = connection.watcher
        self.recorder = recorder
        self.notify = notify
        self.describe = describe
        self.patience = patience
        self.gone_logs: set[str] = set()

    def submitter(self, *, package_seconds: float = 0.0) -> Submitter:
        """Returns a Submitter for this cluster."""
        from .submit import Submitter

        return Submitter(
            self.watcher,
            recorder=self.recorder,
            notify=self.notify,
            patience=self.patience,
            package_seconds=package_seconds,
        )

    async def submit(self, job: PreparedJob, *, seconds: float = SUBMIT_SECONDS) -> Submission:
        """Submits the job exactly once. See Submitter.submit."""
        return await self.submitter().submit(job, seconds=seconds)

    async def submit_or_prepare_again(
        self, job: PreparedJob, prepare: Callable[[], Awaitable[PreparedJob]], *, seconds: float = SUBMIT_SECONDS
    ) -> tuple[PreparedJob, Submission]:
        """Submits the job. If a file was removed after its directory was read, the directory is read again.

        Args:
            job: The job.
            prepare: Prepares it again.
            seconds: See Submitter.submit.

        Returns:
            The job as it was sent, and the submission.

        Raises:
            SourceChanged: A file changed, or files keep vanishing.
            JobLost, Conflict, Refused, NotAllowed, Unreachable, DeadlinePassed: See Submitter.submit.
        """
        for _ in range(VANISHED_ATTEMPTS):
            try:
                return job, await self.submit(job, seconds=seconds)
            except SourceChanged as error:
                if not error.vanished:
                    raise
                self.notify(f"{error.message} The directory is read again.")
            job = replace(await prepare(), submission_id=job.submission_id)
        return job, await self.submit(job, seconds=seconds)

    async def submission_id_of(self, any_id: str) -> str:
        """Returns the submission id for a submission id or a job id of Ray. See JobWatcher.submission_id_of."""
        return await self.watcher.submission_id_of(any_id, Deadline(self.patience))

    async def _submission_ids_of(self, any_ids: Sequence[str], deadline: Deadline) -> Sequence[str]:
        """Returns the ids as they are if the server does not answer before the deadline: the caller reports that."""
        try:
            until = Deadline(min(self.patience, deadline.left))
            return [await self.watcher.submission_id_of(each, until) for each in any_ids]
        except Unreachable:
            if not deadline.passed:
                raise
            return any_ids

    def follower(
        self,
        submission_id: str,
        *,
        follow: bool = True,
        known_to_exist: bool = False,
        offset: int = 0,
        limits: TimeLimits | None = None,
    ) -> LogFollower:
        """Returns a reader of the job's log. See LogFollower."""
        return LogFollower(
            self.watcher,
            submission_id,
            follow=follow,
            known_to_exist=known_to_exist,
            offset=offset,
            limits=limits,
            patience=self.patience,
            notify=self.notify,
            on_change=self._report_change,
            describe=self.describe,
            on_gone=lambda: self.gone_logs.add(submission_id),
        )

    async def run_to_end(
        self,
        submission_id: str,
        write: Callable[[bytes], None],
        *,
        known_to_exist: bool = True,
        offset: int = 0,
        limits: TimeLimits | None = None,
    ) -> Result:
        """Follows the job to its end.

        Args:
            submission_id: The job.
            write: Called with every byte of the log from `offset` on.
            known_to_exist: The server accepted the job, so that an absent job is lost, not unknown.
            offset: The first byte of the log to read.
            limits: If one of them passes, the job is stopped and the rest of its log is read.

        Returns:
            The result; a lost job is one too.

        Raises:
            DeadlinePassed: One of `limits` passed.
            UnknownJob, Unreachable, NotAllowed
        """
        submission_id = await self.submission_id_of(submission_id)
        follower = self.follower(submission_id, known_to_exist=known_to_exist, offset=offset, limits=limits)
        with contextlib.ExitStack() as stack:
            if self.recorder is not None and offset == 0:
                write = stack.enter_context(self.recorder.recording_tail(submission_id, write))
            try:
                await _write_chunks(follower, write)
            except JobLost:
                self.gone_logs.add(submission_id)
                return self._lost_result(submission_id, follower.job)
            except DeadlinePassed as passed:
                self.notify(passed.message)
                stopped = await self._stop_late(submission_id, follower.job, passed)
                await _write_chunks(self.follower(submission_id, known_to_exist=True, offset=follower.offset), write)
                if stopped.status != "STOPPED":  # It ended before the stop.
                    return Result(submission_id, stopped.status, stopped)
                raise DeadlinePassed(f"{passed.message} It was stopped.", passed.remedy) from passed
        job = follower.job
        assert job is not None  # The follower ends only on a job that has ended.
        return Result(submission_id, job.status, job)

    async def _stop_late(self, submission_id: str, job: JobInfo | None, passed: DeadlinePassed) -> JobInfo:
        has_run = job is not None and job.status != "PENDING"
        try:
            return await self.stop(submission_id, seconds=STOP_SECONDS if has_run else PENDING_STOP_SECONDS)
        except DeadlinePassed as not_stopped:
            raise DeadlinePassed(f"{passed.message} {not_stopped.message}", not_stopped.remedy) from passed

    async def print_log(self, submission_id: str, write: Callable[[bytes], None], *, offset: int = 0) -> None:
        """Gives `write` the log as it is now, from byte `offset` on.

        Raises Refused, UnknownJob, Unreachable, NotAllowed.
        """
        async with aclosing(self.read_log(submission_id, offset=offset)) as chunks:
            async for chunk in chunks:
                write(chunk)

    async def print_log_end(
        self,
        submission_id: str,
        write: Callable[[bytes], None],
        *,
        lines: int | None = None,
        since: float | None = None,
    ) -> int:
        """Gives `write` the end of the log as it is now.

        Args:
            submission_id: The job.
            write: Called with the bytes.
            lines: The number of last lines; None: all.
            since: Only from the first line on that has a time not before this, in seconds since the epoch.

        Returns:
            The offset of the next byte, at which a follower continues.

        Raises:
            Refused, UnknownJob, Unreachable, NotAllowed
        """
        from .dashboard.log_end import print_end

        follower = self.follower(submission_id, follow=False)
        follower.on_change = self._record  # If the log is followed after this, that follower reports the status.
        return await print_end(follower, write, lines=lines, since=since)

    async def read_log(
        self, submission_id: str, *, follow: bool = False, offset: int = 0
    ) -> AsyncGenerator[bytes, None]:
        """Yields the log from byte `offset` on: as it is now, or until the job has ended. See LogFollower.chunks."""
        submission_id = await self.submission_id_of(submission_id)
        async with aclosing(self.follower(submission_id, follow=follow, offset=offset).chunks()) as chunks:
            async for chunk in chunks:
                yield chunk

    async def get_jobs(self, submission_ids: Sequence[str]) -> list[JobInfo]:
        """Reads the jobs in the order given. Raises UnknownJob, Unreachable, NotAllowed."""
        if len(submission_ids) == 1:
            jobs = [await self.watcher.get_job(submission_ids[0])]
        else:
            jobs = await self.watcher.get_jobs([await self.submission_id_of(each) for each in submission_ids])
        self._record(*jobs)
        return jobs

    async def wait(
        self,
        submission_ids: Sequence[str],
        *,
        deadline: Deadline | None = None,
        on_end: Callable[[JobInfo], None] = lambda _job: None,
        describe: Callable[[JobInfo], str] | None = None,
    ) -> list[Result]:
        """Waits until all jobs have ended. Returns their results in the order given.

        Args:
            submission_ids: The jobs.
            deadline: When all must have ended; never by default.
            on_end: Called with each job when it has ended; not with one that is lost.
            describe: Called at each look at a job that has not ended; by default that of the session.

        Raises:
            UnknownJob, DeadlinePassed, Unreachable, NotAllowed
        """
        deadline = deadline or Deadline(None)

        def on_change(job: JobInfo) -> None:
            self._report_change(job)
            if job.ended:
                on_end(job)

        submission_ids = await self._submission_ids_of(submission_ids, deadline)
        ended = await self.watcher.wait(
            submission_ids,
            deadline=deadline,
            patience=self.patience,
            on_change=on_change,
            describe=describe or self.describe,
        )
        results = {
            each: Result(each, job.status, job) if job is not None else self._lost_result(each)
            for each, job in ended.items()
        }
        for each in ended.values():
            if each is not None and each.is_driver:
                self.notify(
                    f"Job {visible(each.submission_id)} is a driver that was not submitted: Ray records SUCCEEDED at "
                    "its end, also if it failed."
                )
        return [results[each] for each in submission_ids]

    async def stop(self, submission_id: str, *, seconds: float = STOP_SECONDS, wait: bool = True) -> JobInfo:
        """Stops the job and waits for its end.

        Args:
            submission_id: The job.
            seconds: Time for the job to end.
            wait: Wait for the end; otherwise the record from before the stop is returned.

        Raises:
            DeadlinePassed: The job has not ended in time; the message quotes Ray's.
            Refused: The job was not submitted.
            UnknownJob, JobLost, Unreachable, NotAllowed
        """
        deadline = Deadline(seconds)
        job = await self.watcher.get_job(submission_id, deadline)
        submission_id = job.submission_id
        if job.is_driver:
            raise not_submitted(job)
        if job.ended:
            self.notify(f"Job {submission_id} had ended already: {visible(job.status)}.")
            self._record(job)
            return job
        await self.client.stop_job(submission_id, deadline)
        if not wait:
            return job
        return await self._wait_for_stop(submission_id, deadline)

    async def _wait_for_stop(self, submission_id: str, deadline: Deadline) -> JobInfo:
        seconds = deadline.seconds or 0.0
        try:
            ended = await self.watcher.wait(
                [submission_id], deadline=deadline, patience=seconds, longest_pause=0.5, known_to_exist=True
            )
            job = ended[submission_id]
        except DeadlinePassed:
            job = await self.watcher.get_job(submission_id)
            if not job.ended:
                raise DeadlinePassed(
                    f"Job {submission_id} was asked to stop and is still {visible(job.status)} after {seconds:.0f} s. "
                    f"Ray says: {shown(job.message, SENTENCE_LIMIT, lines=True)}",
                    "A job that waits for resources stops when it gets them. "
                    f"{command(f'why {submission_id}')} shows what it waits for.",
                ) from None
        if job is None:
            raise lost(submission_id)
        self._record(job)
        return job

    async def delete(self, submission_id: str) -> None:
        """Deletes the server's record of a job that has ended. Raises Refused, UnknownJob, Unreachable, NotAllowed."""
        job = await self.watcher.get_job(submission_id)
        if job.is_driver:
            raise not_submitted(job)
        from .dashboard.submission import delete_ended_job

        await delete_ended_job(self.client, job)
        if self.recorder is not None:
            from .ledger.records import DELETED

            self.recorder.record_status(job.submission_id, DELETED)

    def _report_change(self, job: JobInfo) -> None:
        if not job.ended:  # The end is for the caller to tell, when the log was read.
            self.notify(f"Job {visible(job.submission_id)} is {visible(job.status)}.")
        self._record(job)

    def _record(self, *jobs: JobInfo) -> None:
        if self.recorder is not None:
            self.recorder.record_jobs(jobs)

    def _lost_result(self, submission_id: str, job: JobInfo | None = None) -> Result:
        """Returns LOST, or the recorded end if this machine read it before the server forgot the job."""
        if self.recorder is not None:
            recorded = self.recorder.find_job(submission_id)
            if recorded is not None and recorded.ended:
                self.notify(f"The server has forgotten job {submission_id}; the ledger knows how it ended.")
                return Result(submission_id, recorded.status, recorded)
            self.recorder.record_status(submission_id, LOST)
        return Result(submission_id, LOST, job)


@asynccontextmanager
async def open_session(
    target: Target,
    *,
    ledger: str | Path | None = None,
    record: bool = True,
    notify: Callable[[str], None] = lambda _text: None,
    notify_of_jobs: Callable[[str], None] | None = None,
    describe: Callable[[JobInfo], str] = lambda _job: "",
    patience: float = PATIENCE_SECONDS,
) -> AsyncIterator[Session]:
    """Opens a session and closes it at the end of the context.

    Args:
        target: The Ray cluster; see `jobs.target.resolve`.
        ledger: Path of the ledger; this user's own by default.
        record: Record the session's jobs in the ledger.
        notify: Called with messages for a person.
        notify_of_jobs: Called with messages about jobs and uploads. Default: `notify`.
        describe: Returns what is known about a job that has not ended, for the status line.
        patience: Seconds without any answer after which an operation that waits raises Unreachable.

    Raises:
        Refused, LocalFault, Unreachable, NotAllowed, NotThere, DeadlinePassed: See `open_connection`.
    """
    async with open_connection(target, notify=notify) as connection:
        recorder = None
        if record:
            from .ledger.recorder import Recorder, place_of
            from .ledger.store import Ledger

            recorder = Recorder(Ledger(ledger, notify), place_of(target, connection.identity))
        yield Session(
            connection,
            recorder=recorder,
            notify=notify_of_jobs or notify,
            describe=describe,
            patience=patience,
        )


async def _write_chunks(follower: LogFollower, write: Callable[[bytes], None]) -> None:
    async with aclosing(follower.chunks()) as chunks:
        async for chunk in chunks:
            write(chunk)
