"""A job's log: every byte once, in order, as the job wrote it, also after a broken connection.

Three sources have the log. The first that works is used, and what was read is not read twice:

1. The dashboard agent of the driver's node serves its log directory as files. It accepts `Range`, so a broken
   connection is resumed at the byte where it broke.
2. The dashboard's log API has the same bytes, but always begins at the first one: after a break, the bytes that were
   read before are dropped.
3. The Jobs API decodes the log as text: bytes that are not UTF-8, and carriage returns, are lost. It is used only if
   the server has nothing better, with a message. The log API of a Ray before 2.34 is not better: it begins each piece
   of a log with a mark, the byte 0 or 1, and nothing tells where a piece begins.

A source is an async generator. It yields the bytes from an offset on, and returns when it has no more at this moment.
The reader chooses the source and counts the bytes. The follower decides when the log is complete: when a read that
began after the end of the job has returned. A keeper, which has many logs to follow, decides that by itself.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from urllib.parse import quote, urlencode

from ..activity import Activity, activity
from ..deadline import Backoff, Deadline
from ..errors import JobsError, NotAllowed, ServerFault, Unreachable, command, number_of
from ..spec.job_info import JobInfo, lost
from ..spec.time_limits import TimeLimits
from ._httpx import httpx
from .client import JOB_IS_ABSENT, RayJobsApi, not_submitted
from .http import MOST_ERROR_BYTES, HttpClient, read_answer
from .http_errors import UnusableAnswer, error_of_response
from .waiting import PATIENCE_SECONDS, JobWatcher

POLL_SECONDS = 1.0
# After this many failures of the agent in a row without a byte, the log API is used for a while.
MAX_AGENT_FAILURES = 3
AGENT_RETRY_SECONDS = 30.0
NO_AGENT = "Agent for node id"
# A live stream is silent as long as the job is. Whether the job has ended is asked separately.
LIVE_IDLE_SECONDS = 3600.0
FILE_IDLE_SECONDS = 60.0


# The first Ray whose log API can leave the marks out, and the first that names the file in a header.
RAY_WITHOUT_MARKS = (2, 34)
HEADER_WITHOUT_MARKS = "content-disposition"


class NoLogBytes(Exception):
    """The server has no log API that gives the bytes of a log."""


class LogGone(Exception):
    """The server has the job, but no log of it."""


class LogShrank(Exception):
    """The server's log is shorter than what was read of it before: another one began."""


class LogReader:
    """Reads the log of one job, from the best source.

    Args:
        client: The server.
        submission_id: The job.
        offset: The first byte to read. Afterwards, the attribute `offset` is the next byte.
        patience: Seconds for the log as text, with all attempts.
        notify: Called with messages for a person.

    Attributes:
        by_text: The server has nothing better than the log as text, which is read from its beginning each time.
    """

    def __init__(
        self,
        client: RayJobsApi,
        submission_id: str,
        *,
        offset: int = 0,
        patience: float = PATIENCE_SECONDS,
        notify: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self.client = client
        self.submission_id = submission_id
        self.offset = offset
        self.patience = patience
        self.notify = notify
        self.by_text = False
        self._agent: HttpClient | None = None
        self._agent_address: str | None = None
        self._agent_failures = 0
        self._agent_retry_at = 0.0

    async def read(
        self, job: JobInfo, has_ended: Callable[[], Awaitable[bool]] | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yields what the log has from `offset` on.

        Args:
            job: The job's record.
            has_ended: If no agent can be used: wait for what the job writes, until this is true; None: do not wait.

        Raises:
            LogGone, LogShrank, Unreachable
        """
        if job.driver_node_id is None and job.driver_agent_http_address is None:
            return  # There is no driver yet, or there never was one.
        async with aclosing(self._read_best(job, has_ended)) as pieces:
            async for piece in pieces:
                self.offset += len(piece)
                yield piece

    async def has_agent(self, job: JobInfo) -> bool:
        """Returns whether the next `read` asks the agent of the driver's node."""
        return await self._choose_agent(job) is not None

    async def _read_best(
        self, job: JobInfo, has_ended: Callable[[], Awaitable[bool]] | None
    ) -> AsyncGenerator[bytes, None]:
        agent = await self._choose_agent(job)
        if agent is not None:
            try:
                async with aclosing(read_agent_log(agent, self.submission_id, self.offset)) as pieces:
                    async for piece in pieces:
                        self._agent_failures = 0
                        yield piece
                self._agent_failures = 0
                return
            except JobsError as error:
                # An agent that refuses the token is of no use: the user's headers are for the dashboard only.
                self._agent_failures += MAX_AGENT_FAILURES if isinstance(error, NotAllowed) else 1
                if self._agent_failures < MAX_AGENT_FAILURES:
                    raise
                self._agent_retry_at = time.monotonic() + AGENT_RETRY_SECONDS
        source = (
            read_log(self.client, job, self.offset)
            if has_ended is None
            else read_live_log(self.client, job, self.offset, has_ended)
        )
        try:
            async with aclosing(source) as pieces:
                async for piece in pieces:
                    yield piece
            return
        except NoLogBytes:
            pass
        self._warn_of_text()
        async with aclosing(read_log_text(self.client, self.submission_id, self.offset, self.patience)) as pieces:
            async for piece in pieces:
                yield piece

    async def _choose_agent(self, job: JobInfo) -> HttpClient | None:
        address = job.driver_agent_http_address
        if address is None:
            return None
        if self._agent_failures >= MAX_AGENT_FAILURES and time.monotonic() < self._agent_retry_at:
            return None
        if address != self._agent_address:
            self._agent = await self.client.agent(address)
            self._agent_address = address
        return self._agent

    def _warn_of_text(self) -> None:
        if not self.by_text:
            self.by_text = True
            self.notify(
                "This Ray has no log API that gives bytes: the text of the Jobs API is shown instead. Carriage returns "
                "and bytes that are not UTF-8 are not kept."
            )


class LogFollower:
    """Reads the log of one job.

    Args:
        watcher: The jobs of the cluster.
        submission_id: The job.
        offset: The first byte to read. Afterwards, the attribute `offset` is the next byte.
        follow: Read until the job has ended, not only what there is now.
        known_to_exist: The server accepted the job, so that an absent job is lost, not unknown.
        patience: Seconds without any answer after which Unreachable is raised.
        limits: Limits of the job's time.
        notify: Called with messages for a person.
        on_change: Called with the job at the first look, and whenever its status has changed.
        describe: Returns what is known about a job that has not ended, for the status line.
        on_gone: Called if the log is gone from its node before it was read to the end.
    """

    def __init__(
        self,
        watcher: JobWatcher,
        submission_id: str,
        *,
        offset: int = 0,
        follow: bool = True,
        known_to_exist: bool = False,
        patience: float = PATIENCE_SECONDS,
        limits: TimeLimits | None = None,
        notify: Callable[[str], None] = lambda _text: None,
        on_change: Callable[[JobInfo], None] = lambda _job: None,
        describe: Callable[[JobInfo], str] = lambda _job: "",
        on_gone: Callable[[], None] = lambda: None,
    ) -> None:
        self.watcher = watcher
        self.submission_id = submission_id
        self.follow = follow
        self.patience = patience
        self.limits = limits or TimeLimits()
        self.notify = notify
        self.on_change = on_change
        self.describe = describe
        self.on_gone = on_gone
        self.job: JobInfo | None = None
        self._reader = LogReader(
            watcher.client, submission_id, offset=offset, patience=patience, notify=lambda text: self.notify(text)
        )
        self._poller = watcher.poller(known_to_exist=known_to_exist)
        self._looked_at = 0.0
        self._failure = ""
        self._reading = Activity(f"Reading the log of job {submission_id}")

    @property
    def offset(self) -> int:
        """The next byte to read."""
        return self._reader.offset

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yields the bytes in pieces.

        Raises:
            UnknownJob, JobLost, NotAllowed, Unreachable
            Refused: The job was not submitted, so Ray has no log of it.
            DeadlinePassed: One of the limits passed.
        """
        with activity(self._reading.text) as self._reading:
            async with aclosing(self._chunks()) as pieces:
                async for piece in pieces:
                    yield piece

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        backoff = Backoff(first=0.05, longest=POLL_SECONDS)
        progress_at = time.monotonic()  # When bytes came last, or none were to be expected.
        while True:
            job = await self._look()
            last_read = job.ended or not self.follow
            before = self.offset
            try:
                live = None if last_read else self._has_ended
                try:
                    async with aclosing(self._reader.read(job, live)) as pieces:
                        async for piece in pieces:
                            yield piece
                except LogShrank:
                    pass  # What follows `offset` is still to come.
                if last_read:
                    return
                self._failure = ""
            except UnusableAnswer:
                raise
            except (LogGone, Unreachable) as error:
                if isinstance(error, LogGone) or (self.offset == before and await self._is_node_dead(job)):
                    await self._end_without_log(job)
                    return
                # The server answers, or `_look` had raised: the trouble is between here and the log.
                self._failure = self._reading.detail = f"its log cannot be read: {error.message}"
                if time.monotonic() - progress_at > self.patience:
                    raise self._unreadable(job, error) from error
            if self.offset > before or not last_read:
                progress_at = time.monotonic()
            if self.offset > before:
                backoff.reset()
            else:
                await backoff.pause()

    def _unreadable(self, job: JobInfo, error: Unreachable) -> Unreachable:
        return Unreachable(
            f"The log of {self.submission_id} could not be read past byte {self.offset}: {error.message}",
            f"The job itself is {job.status}. {command(f'logs --follow {self.submission_id}')} tries again.",
        )

    async def _is_node_dead(self, job: JobInfo) -> bool:
        return await self.watcher.orphans.is_dead(job.driver_node_id)

    async def _end_without_log(self, job: JobInfo) -> None:
        self.notify(f"The log of {self.submission_id} is gone from its node, after {number_of(self.offset, 'byte')}.")
        self.on_gone()
        if self.follow and not job.ended:
            ended = await self.watcher.wait(
                [self.submission_id], patience=self.patience, known_to_exist=True, on_change=self._update
            )
            self.job = ended[self.submission_id]
            if self.job is None:
                raise lost(self.submission_id)

    def _update(self, job: JobInfo) -> None:
        if self.job is None or self.job.status != job.status:
            self.on_change(job)
            if self.follow and not job.ended:
                # `on_change` has told it.
                until = Deadline(self.limits.left(job))
                self._reading.restart(f"Job {self.submission_id} is {job.status}", until, announced=True)
            elif self.follow:
                self._reading.restart(f"Reading the rest of the log of job {self.submission_id}", None)
        if self.follow:
            self._reading.detail = self._failure or self.describe(job)
        self.job = job

    async def _look(self) -> JobInfo:
        """Reads the job, not older than the poll interval unless it has ended."""
        if self.job is not None and (self.job.ended or time.monotonic() - self._looked_at < POLL_SECONDS / 2):
            return self.job
        try:
            patience = max(1.0, min(self.patience, self.limits.left(self.job)))
            job = await self._poller.look(self.submission_id, patience)
        except Unreachable:
            self.limits.check(self.submission_id, self.job)
            raise
        if job.is_driver:
            raise not_submitted(job)
        self._looked_at = time.monotonic()
        self._update(job)
        self.limits.check(self.submission_id, job)
        return job

    async def _has_ended(self) -> bool:
        return (await self._look()).ended


async def read_agent_log(agent: HttpClient, submission_id: str, offset: int) -> AsyncGenerator[bytes, None]:
    """Reads the log from the agent of the driver's node. Raises Unreachable, NotAllowed, LogShrank."""
    path = f"/logs/{quote(log_name(submission_id))}"
    async with agent.stream(path, headers={"Range": f"bytes={offset}-"}) as response:
        if response.status_code == 416:
            # A connection whose answer was not read to its end cannot be used again.
            await read_answer(response, agent.where, MOST_ERROR_BYTES)
            size = re.fullmatch(r"bytes \*/(\d+)", response.headers.get("content-range", ""))
            if size is not None and int(size[1]) < offset:
                raise LogShrank
            return  # The offset is the end of the file.
        if response.status_code not in (200, 206):
            raise error_of_response(await read_answer(response, agent.where, MOST_ERROR_BYTES), agent.where)
        # A proxy that drops the Range header sends the whole file.
        skip = offset if response.status_code == 200 else 0
        async with aclosing(_skipping(response.aiter_raw(), skip)) as pieces:
            async for piece in pieces:
                yield piece


async def read_log(client: RayJobsApi, job: JobInfo, offset: int) -> AsyncGenerator[bytes, None]:
    """Reads the log as it is now, from the dashboard's log API. Raises LogGone, NoLogBytes, Unreachable."""
    query = log_query(job) | {"timeout": "600"}
    async with client.http.stream(f"/api/v0/logs/file?{urlencode(query)}", idle_seconds=FILE_IDLE_SECONDS) as response:
        await check_log_response(response, client, job)
        async with aclosing(_skipping(response.aiter_raw(), offset)) as pieces:
            async for piece in pieces:
                yield piece


async def read_live_log(
    client: RayJobsApi, job: JobInfo, offset: int, has_ended: Callable[[], Awaitable[bool]]
) -> AsyncGenerator[bytes, None]:
    """Reads the log of a running job as it grows, until the job has ended; its last bytes may be missing."""
    query = log_query(job) | {"interval": "0.5"}
    path = f"/api/v0/logs/stream?{urlencode(query)}"
    async with client.http.stream(path, idle_seconds=LIVE_IDLE_SECONDS) as response:
        await check_log_response(response, client, job)
        async with (
            aclosing(_until(response.aiter_raw(), has_ended)) as live_pieces,
            aclosing(_skipping(live_pieces, offset)) as pieces,
        ):
            async for piece in pieces:
                yield piece


async def read_log_text(
    client: RayJobsApi, submission_id: str, offset: int, patience: float
) -> AsyncGenerator[bytes, None]:
    """Reads the log as text, encoded again. Raises LogGone, Unreachable; UnusableAnswer if there is no such API."""
    try:
        text = await client.job_log_text(submission_id, Deadline(patience))
    except ServerFault as error:
        if error.status != 404:
            raise
        if JOB_IS_ABSENT in error.body:
            raise LogGone from error
        raise UnusableAnswer(
            f"{client.http.where} has no log API: every path of it answers HTTP 404.",
            "The proxy in front of Ray has to pass on /api/v0/logs/, or at least /api/jobs/ID/logs.",
        ) from error
    rest = text.encode()[offset:]
    if rest:
        yield rest


def log_query(job: JobInfo) -> dict[str, str]:
    # Without this format, Ray 2.34 to 2.44 mark each piece. Later versions ignore it.
    return {"submission_id": job.submission_id, "node_id": job.driver_node_id or "", "lines": "-1", "format": "text"}


async def check_log_response(response: httpx.Response, client: RayJobsApi, job: JobInfo) -> None:
    """Raises LogGone, NoLogBytes, Unreachable if the answer is not the bytes of a log."""
    if response.is_success:
        if HEADER_WITHOUT_MARKS not in response.headers and await _marks_pieces(client):
            raise NoLogBytes
        return
    if response.status_code == 404:
        raise NoLogBytes
    response = await read_answer(response, client.http.where, MOST_ERROR_BYTES)
    if "not found" in response.text:
        raise LogGone
    if NO_AGENT in response.text:
        # The node is dead, or it has not registered with a new head yet.
        raise Unreachable(f"Ray has no agent on the node of {job.submission_id}.")
    raise error_of_response(response, client.http.where)


async def _marks_pieces(client: RayJobsApi) -> bool:
    """Returns whether the server is a Ray whose log API marks each piece of a log."""
    try:
        version = str((await client.version())["ray_version"])
    except ServerFault:
        return False  # A proxy that passes on nothing else.
    numbers = re.match(r"(\d+)\.(\d+)", version)
    return numbers is not None and (int(numbers[1]), int(numbers[2])) < RAY_WITHOUT_MARKS


async def _skipping(pieces: AsyncIterator[bytes], skip: int) -> AsyncGenerator[bytes, None]:
    """Yields the pieces without their first `skip` bytes."""
    async for piece in pieces:
        rest = piece[skip:]
        skip = max(0, skip - len(piece))
        if rest:
            yield rest


async def _until(pieces: AsyncIterator[bytes], has_ended: Callable[[], Awaitable[bool]]) -> AsyncGenerator[bytes, None]:
    """Yields the pieces as they come, until the job has ended or the stream has."""
    following = asyncio.ensure_future(_next(pieces))
    try:
        while True:
            done, _ = await asyncio.wait({following}, timeout=POLL_SECONDS)
            if done:
                piece = following.result()
                if piece is None:
                    return
                yield piece
                following = asyncio.ensure_future(_next(pieces))
            if await has_ended():
                return
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def _next(pieces: AsyncIterator[bytes]) -> bytes | None:
    async for piece in pieces:
        return piece
    return None


def log_name(submission_id: str) -> str:
    """Returns the driver log's name in Ray's log directory."""
    return f"job-driver-{submission_id}.log"
