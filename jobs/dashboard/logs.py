"""A job's log: every byte once, in order, as the job wrote it, whatever happens to the connection.

Three places have the log; the first that can be had is used, and what was printed is never read twice:

1. the dashboard agent of the driver's node, which serves its log directory as files: it takes `Range`, so a broken
   connection is resumed at the byte where it broke;
2. the dashboard's log API, which has the same bytes but always begins at the first one: after a break the bytes that
   were printed are read again and dropped;
3. the job API, which decodes the log as text: bytes that are not UTF-8 and carriage returns are not kept. Only used
   where the server has nothing better, and said so.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from ..deadline import Deadline, pauses
from ..errors import DeadlinePassed, JobsError, ServerFault, Unreachable
from ..spec.job_info import JobInfo
from .client import Client
from .http import Http, fault, json_of

PIECE = 64 * 1024
POLL_SECONDS = 1.0
# With this many breaks in a row and not a byte, another source is tried.
FRUITLESS = 3
AGENT_AGAIN_SECONDS = 30.0
NO_AGENT = "Agent for node id"


class LogGone(Exception):
    """The server has the job, and its log is nowhere."""


@dataclass
class Limits:
    """How long a job may take, in seconds from now: in PENDING (`queue`), until it runs (`start`), as it runs (`run`).

    `start` may have begun earlier than this object: `elapsed` is what has passed of it.
    """

    queue: float | None = None
    start: float | None = None
    run: float | None = None
    elapsed: float = 0.0

    def __post_init__(self) -> None:
        self._queue = Deadline(self.queue)
        self._start = Deadline(None if self.start is None else max(0.0, self.start - self.elapsed))
        self._run: Deadline | None = None

    def left(self, info: JobInfo | None) -> float:
        """Seconds until the next of them passes."""
        if info is None or info.status == "PENDING":
            return min(self._queue.left, self._start.left)
        if self._run is None:
            self._run = Deadline(self.run)
        return float("inf") if info.ended else self._run.left

    def check(self, submission_id: str, info: JobInfo | None) -> None:
        """Raises DeadlinePassed, saying what was waited for."""
        if self.left(info) > 0:
            return
        if info is not None and info.status != "PENDING":
            raise DeadlinePassed(f"Job {submission_id} has run for {self.run:.0f} s, which is its --timeout.")
        which, seconds = ("--queue-timeout", self.queue) if self._queue.passed else ("--start-timeout", self.start)
        raise DeadlinePassed(
            f"Job {submission_id} did not start within {which} ({seconds:.0f} s).",
            f"Ray says: {info.message}" if info is not None and info.message else "",
        )


class LogFollower:
    """Iterate over `chunks()` to have the log's bytes from `offset` on; `info` is the job as last seen.

    With `follow` the iteration ends when the job has ended and the log was read to the size it had then; without, at
    the log's present end. Raises JobLost, UnknownJob, Unreachable (no answer for `patience` seconds), NotAllowed.
    """

    def __init__(
        self,
        client: Client,
        submission_id: str,
        *,
        offset: int = 0,
        follow: bool = True,
        seen: bool = False,
        patience: float = 300.0,
        limits: Limits | None = None,
        note: Callable[[str], None] = lambda _text: None,
        on_change: Callable[[JobInfo], None] = lambda _info: None,
    ) -> None:
        self.client = client
        self.submission_id = submission_id
        self.offset = offset
        self.follow = follow
        self.patience = patience
        self.limits = limits or Limits()
        self.note = note
        self.on_change = on_change
        self.info: JobInfo | None = None
        self._seen = seen
        self._looked = 0.0
        self._agent: Http | None = None
        self._agent_address: str | None = None
        self._agent_failures = 0
        self._agent_again = 0.0
        self._said = False
        self._drained = False

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        pause = pauses(0.05, POLL_SECONDS)
        fine = time.monotonic()  # When bytes came last, or none were to be expected.
        while True:
            info = await self._look()
            self._drained, before = False, self.offset
            try:
                async with aclosing(self._read(info)) as pieces:
                    async for piece in pieces:
                        yield piece
            except (LogGone, Unreachable) as error:
                if isinstance(error, LogGone) or (self.offset == before and await self._node_is_dead(info)):
                    self.note(f"The log of {self.submission_id} is gone from its node; {self.offset} bytes were read.")
                    if self.follow and not info.ended:
                        self.info = await self.client.wait(
                            self.submission_id, patience=self.patience, seen=True, on_change=self._changed
                        )
                    return
                # The server answers, or `_look` had raised: only the log's own way can be the trouble.
                if time.monotonic() - fine > self.patience:
                    raise Unreachable(
                        f"The log of {self.submission_id} cannot be read past byte {self.offset}: {error.what}",
                        f"The job itself is {info.status}; `logs --follow {self.submission_id}` tries again.",
                    ) from error
            if self._drained and (info.ended or not self.follow):
                return
            if self.offset > before or (self.follow and not info.ended):
                fine = time.monotonic()
            if self.offset > before:
                pause = pauses(0.05, POLL_SECONDS)
            else:
                await asyncio.sleep(pause())

    async def _node_is_dead(self, info: JobInfo) -> bool:
        return await self.client.orphans.is_dead(info.driver_node_id)

    def _changed(self, info: JobInfo) -> None:
        if self.info is None or self.info.status != info.status:
            self.on_change(info)
        self.info = info

    async def _look(self) -> JobInfo:
        """The job, not older than the poll interval unless it has ended."""
        if self.info is not None and (self.info.ended or time.monotonic() - self._looked < POLL_SECONDS / 2):
            return self.info
        try:
            patience = max(1.0, min(self.patience, self.limits.left(self.info)))
            info = await self.client.look(self.submission_id, seen=self._seen, patience=patience)
        except Unreachable:
            self.limits.check(self.submission_id, self.info)
            raise
        self._seen, self._looked = True, time.monotonic()
        self._changed(info)
        self.limits.check(self.submission_id, info)
        return info

    async def _read(self, info: JobInfo) -> AsyncGenerator[bytes, None]:
        """All there is now past `offset`; for a running job a source may go on as long as it likes."""
        if info.driver_node_id is None and info.driver_agent_http_address is None:
            self._drained = True
            return  # No driver yet, or it never came to one.
        agent = await self._agent_of(info)
        if agent is not None:
            try:
                async with aclosing(self._from_agent(agent)) as pieces:
                    async for piece in pieces:
                        self._agent_failures = 0
                        yield piece
                self._agent_failures = 0
                return
            except JobsError:
                self._agent_failures += 1
                if self._agent_failures < FRUITLESS:
                    raise
                self._agent_again = time.monotonic() + AGENT_AGAIN_SECONDS
        async with aclosing(self._from_state_api(info)) as pieces:
            async for piece in pieces:
                yield piece

    async def _agent_of(self, info: JobInfo) -> Http | None:
        address = info.driver_agent_http_address
        if address is None:
            return None
        if self._agent_failures >= FRUITLESS and time.monotonic() < self._agent_again:
            return None
        if address != self._agent_address:
            self._agent = await self.client.agent_route(address)
            self._agent_address = address
        return self._agent

    async def _from_agent(self, agent: Http) -> AsyncGenerator[bytes, None]:
        path = f"/logs/{quote(log_name(self.submission_id))}"
        before = self.offset
        async with agent.stream(path, headers={"Range": f"bytes={self.offset}-"}) as response:
            if response.status_code == 416:
                self._drained = True
                return
            if response.status_code not in (200, 206):
                await response.aread()
                raise fault(response, agent.where)
            # A proxy that drops the Range header sends the whole file.
            skip = self.offset if response.status_code == 200 else 0
            async for piece in response.aiter_raw(PIECE):
                rest = piece[skip:]
                skip = max(0, skip - len(piece))
                if rest:
                    self.offset += len(rest)
                    yield rest
        self._drained = self.offset == before

    async def _from_state_api(self, info: JobInfo) -> AsyncGenerator[bytes, None]:
        live = self.follow and not info.ended
        query = {"submission_id": self.submission_id, "node_id": info.driver_node_id or "", "lines": "-1"}
        query |= {"interval": "0.5"} if live else {"timeout": "600"}
        path = f"/api/v0/logs/{'stream' if live else 'file'}?{urlencode(query)}"
        skip = self.offset
        # A live stream is silent while the job is; whether the job has ended is asked beside it.
        async with self.client.http.stream(path, idle_seconds=3600.0 if live else 60.0) as response:
            if response.status_code == 404:
                await response.aread()
                async for piece in self._from_job_api():
                    yield piece
                return
            if not response.is_success:
                await response.aread()
                if "not found" in response.text:
                    raise LogGone
                if NO_AGENT in response.text:
                    # Of a node that is dead, or that has not come back to a new head yet.
                    raise Unreachable(f"Ray has no agent on the node of {self.submission_id}.")
                raise fault(response, self.client.http.where)
            async with aclosing(self._until_ended(response.aiter_raw(PIECE), live)) as pieces:
                async for piece in pieces:
                    rest = piece[skip:]
                    skip = max(0, skip - len(piece))
                    if rest:
                        self.offset += len(rest)
                        yield rest
        self._drained = not live
        if live:
            # Left because the job has ended: the caller reads the rest as a file, which has a definite end.
            raise Unreachable("The live log was left.")

    async def _until_ended(self, pieces: AsyncIterator[bytes], live: bool) -> AsyncGenerator[bytes, None]:
        """The pieces as they come; of a live stream, until the job has ended."""
        following = asyncio.ensure_future(_next(pieces))
        try:
            while True:
                done, _ = await asyncio.wait({following}, timeout=POLL_SECONDS if live else None)
                if done:
                    piece = following.result()
                    if piece is None:
                        return
                    yield piece
                    following = asyncio.ensure_future(_next(pieces))
                if live and (await self._look()).ended:
                    return
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    async def _from_job_api(self) -> AsyncGenerator[bytes, None]:
        self._say_once()
        where = self.client.http.where

        def parse(response: object) -> str:
            found = json_of(response, where)  # type: ignore[arg-type]
            if not isinstance(found, dict) or not isinstance(found.get("logs"), str):
                raise ServerFault(f"{where} answered the request for a log with something else.")
            return str(found["logs"])

        path = f"/api/jobs/{quote(self.submission_id, safe='')}/logs"
        text = await self.client.http.ask("GET", path, deadline=Deadline(self.patience), parse=parse)
        rest = text.encode()[self.offset :]
        self._drained = not rest
        if rest:
            self.offset += len(rest)
            yield rest

    def _say_once(self) -> None:
        if not self._said:
            self._said = True
            self.note(
                "This Ray has no log API that gives bytes: the job API's text is shown instead. Carriage returns and "
                "bytes that are not UTF-8 are not kept."
            )


async def _next(pieces: AsyncIterator[bytes]) -> bytes | None:
    async for piece in pieces:
        return piece
    return None


def log_name(submission_id: str) -> str:
    """The driver log's name in Ray's log directory."""
    return f"job-driver-{submission_id}.log"
