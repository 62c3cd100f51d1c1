"""Ray's Jobs API: typed, with deadlines, and with submissions that happen exactly once."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO
from urllib.parse import quote, urlsplit

from ..deadline import Deadline, pauses
from ..errors import (
    Conflict,
    DeadlinePassed,
    JobsError,
    PackageTooLarge,
    Refused,
    ServerFault,
    UnknownJob,
    Unreachable,
)
from ..spec.job_info import JobInfo, lost
from ..spec.job_spec import JobSpec, difference
from ._httpx import httpx
from .http import PASSING, PATIENCE_WITH_500, TOO_LARGE_REMEDY, Http, fault, json_of
from .orphans import Orphans

# The dashboard's own limit on a request's body. Ray's documentation says 512 MiB; the server answers 500 over this.
PACKAGE_LIMIT = 100 * 1024**2
LIST_SECONDS = 180.0
# From the moment Ray is made to look after a job until its record says what was found.
ORPHAN_SECONDS = 4.0
NO_AGENT = ("No available agent", "Failed to get head node agent")
ALREADY_THERE = "already exists"
# What Ray's job manager writes in place of a job that was deleted while it still looked after it, as it does for a
# second or two after the end: a record without content, which holds the id.
GHOST = "Entrypoint not found."
GHOST_SECONDS = 3.0


@dataclass(frozen=True)
class Submission:
    """`attached` is true when the job was there before this call, by an earlier attempt or another process."""

    submission_id: str
    attached: bool
    info: JobInfo | None = None


AgentRoute = Callable[[str], Awaitable[Http | None]]


async def no_agent_route(_agent_address: str) -> Http | None:
    return None


class Client:
    """The Jobs API of one Ray cluster.

    `agent_route` gives access to a node's dashboard agent by the address that the server names for it, or None
    where this machine cannot or should not talk to it. All methods raise errors of jobs.errors only.
    """

    def __init__(self, http: Http, *, agent_route: AgentRoute = no_agent_route, request_seconds: float = 60.0) -> None:
        self.http = http
        self.agent_route = agent_route
        self.request_seconds = request_seconds
        self.orphans = Orphans(http)

    def _deadline(self, deadline: Deadline | None) -> Deadline:
        return deadline or Deadline(self.request_seconds)

    async def version(self, deadline: Deadline | None = None) -> dict[str, Any]:
        """`ray_version`, `session_name` (another one after the head restarted), ..."""

        def parse(response: httpx.Response) -> dict[str, Any]:
            found = json_of(response, self.http.where)
            if not isinstance(found, dict) or "ray_version" not in found:
                raise ServerFault(f"{self.http.where} is not a Ray dashboard: its /api/version has no ray_version.")
            return found

        return await self.http.ask("GET", "/api/version", deadline=self._deadline(deadline), parse=parse)

    async def find(self, submission_id: str, deadline: Deadline | None = None) -> JobInfo | None:
        """The job, or None where the server says that it has none of this id."""

        def parse(response: httpx.Response) -> JobInfo | None:
            if response.status_code != 404:
                return next(iter(_jobs([json_of(response, self.http.where)], self.http.where)), None)
            # Any server answers 404 to a path it does not know; only Ray's own text means that the job is not there.
            if "does not exist" not in response.text:
                raise fault(response, self.http.where)
            return None

        path = f"/api/jobs/{quote(submission_id, safe='')}"
        return await self.http.ask("GET", path, deadline=self._deadline(deadline), parse=parse, allowed=(404,))

    async def get(self, submission_id: str, deadline: Deadline | None = None) -> JobInfo:
        """The job. Raises UnknownJob."""
        info = await self.find(submission_id, deadline)
        if info is not None and await self.orphans.wake(info, at_once=True):
            await asyncio.sleep(ORPHAN_SECONDS)
            info = await self.find(submission_id, deadline)
        if info is None:
            raise unknown(submission_id, self.http.where)
        return info

    async def get_many(self, submission_ids: Sequence[str]) -> builtins.list[JobInfo]:
        """The jobs in the order given, by one list request (two where a driver's node is dead). Raises UnknownJob."""
        there = {job.submission_id: job for job in await self.list(settle=True)}
        missing = [each for each in submission_ids if each not in there]
        if missing:
            raise unknown(", ".join(missing), self.http.where)
        return [there[each] for each in submission_ids]

    async def list(self, deadline: Deadline | None = None, *, settle: bool = False) -> builtins.list[JobInfo]:
        """All jobs the server knows, submitted ones and drivers, oldest first. One request.

        It may take minutes: the server looks each job up, and a head that has just restarted is slow at it. `settle`:
        where a driver's node is dead, Ray is made to look, and is asked again.
        """

        def parse(response: httpx.Response) -> builtins.list[JobInfo]:
            found = json_of(response, self.http.where)
            if not isinstance(found, list):
                raise ServerFault(f"{self.http.where} answered the list of jobs with {type(found).__name__}.")
            return sorted(_jobs(found, self.http.where), key=lambda job: job.start_time or 0)

        until = deadline or Deadline(LIST_SECONDS)
        jobs = await self.http.ask("GET", "/api/jobs/", deadline=until, parse=parse, seconds=LIST_SECONDS)
        if settle and await self.orphans.wake_many(jobs):
            await asyncio.sleep(ORPHAN_SECONDS)
            return await self.list(until)
        return jobs

    async def stop(self, submission_id: str, deadline: Deadline | None = None) -> None:
        """Asks for the stop; see `wait` for the end. A job that has ended is left as it is."""
        path = f"/api/jobs/{quote(submission_id, safe='')}/stop"
        status = await self.http.ask(
            "POST", path, deadline=self._deadline(deadline), parse=_status_code, allowed=(404,)
        )
        if status == 404:
            raise unknown(submission_id, self.http.where)

    async def delete(self, submission_id: str, deadline: Deadline | None = None) -> None:
        """Removes the record of a job that has ended. Refused while it runs."""
        until = self._deadline(deadline)
        info = await self.get(submission_id, until)
        if not info.ended:
            raise Refused(
                f"Job {submission_id} is {info.status}: only a job that has ended can be deleted.",
                f"`stop {submission_id}` first.",
            )
        await self._delete(submission_id, until)
        recent = abs(time.time() - (info.end_time or 0) / 1000) < 10 * GHOST_SECONDS
        settled = Deadline(GHOST_SECONDS if recent else 0.0)
        with contextlib.suppress(JobsError):  # The record is gone; a submission removes what is left as well.
            while not settled.passed and not await self._lay(submission_id, settled):
                await asyncio.sleep(0.5)

    async def _delete(self, submission_id: str, until: Deadline) -> None:
        # A repeated DELETE whose first answer was lost finds nothing: that is what was wanted.
        path = f"/api/jobs/{quote(submission_id, safe='')}"
        await self.http.ask("DELETE", path, deadline=until, parse=_status_code, allowed=(404,))

    async def _lay(self, submission_id: str, until: Deadline) -> bool:
        """Removes the ghost of this id; False if there is none."""

        def parse(response: httpx.Response) -> bool:
            return response.is_success and GHOST in response.text and not _jobs([json_of(response, where)], where)

        where, path = self.http.where, f"/api/jobs/{quote(submission_id, safe='')}"
        if not await self.http.ask("GET", path, deadline=until, parse=parse, allowed=(404,)):
            return False
        await self._delete(submission_id, until)
        return True

    async def package_exists(self, uri: str, deadline: Deadline | None = None) -> bool:
        """Whether the server has the package; if so it keeps it for another ten minutes."""
        status = await self.http.ask(
            "GET", _package_path(uri), deadline=self._deadline(deadline), parse=_status_code, allowed=(404,)
        )
        return status != 404

    async def upload(
        self,
        uri: str,
        body: BinaryIO,
        *,
        deadline: Deadline | None = None,
        progress: Callable[[int, int], None] = lambda _sent, _total: None,
    ) -> None:
        """Sends a package (repeatedly if need be: its name is its content). `progress(sent, total)` in bytes."""
        body.seek(0, 2)
        total = body.tell()
        if total > PACKAGE_LIMIT:
            raise PackageTooLarge(
                f"The package is {total / 1024**2:.1f} MiB; the server takes {PACKAGE_LIMIT // 1024**2} MiB at most.",
                TOO_LARGE_REMEDY,
            )
        until = deadline or Deadline(600.0)
        pause, faults = pauses(), 0
        while True:
            error = await self._put(uri, body, total, progress, until)
            if error is None:
                return
            faults += isinstance(error, ServerFault)
            wait = pause()
            if until.left < wait or faults >= PATIENCE_WITH_500:
                raise error
            await asyncio.sleep(wait)
            # It may have been only the answer that was lost.
            if await self.package_exists(uri, until):
                progress(total, total)
                return

    async def _put(
        self, uri: str, body: BinaryIO, total: int, progress: Callable[[int, int], None], until: Deadline
    ) -> JobsError | None:
        try:
            response = await self.http.once(
                "PUT",
                _package_path(uri),
                seconds=max(1.0, until.left),
                content=_pieces(body, total, progress),
                headers={"Content-Length": str(total), "Content-Type": "application/octet-stream"},
            )
        except Unreachable as unclear:
            return unclear
        if response.is_success:
            return None
        error = fault(response, self.http.where)
        if response.status_code in PASSING:
            return error
        raise error

    async def submit(
        self,
        spec: JobSpec,
        submission_id: str,
        *,
        deadline: Deadline | None = None,
        seconds: float = 30.0,
        note: Callable[[str], None] = lambda _text: None,
    ) -> Submission:
        """Submits once, whatever happens on the way.

        After any answer that is not clear the server is asked whether the job exists: if so and its digest agrees,
        this attaches; if another content is there, Conflict; if not, the request is repeated. Two requests that
        both arrive cannot make two jobs, since the server takes an id once. Raises Conflict, Refused, NotAllowed,
        Unreachable (with what is known about the job), DeadlinePassed.
        """
        until = deadline or Deadline(120.0)
        pause, tracebacks, waiting = pauses(), 0, False
        while True:
            error = await self._post(spec, submission_id, max(1.0, min(seconds, until.left)))
            if error is None:
                return Submission(submission_id, attached=False)
            try:
                there = await self.find(submission_id, until)
            except Unreachable as caught:
                raise _unclear(submission_id, caught) from caught
            if there is not None:
                return attach(spec, there)
            if isinstance(error, ServerFault):
                if any(text in error.body for text in NO_AGENT):
                    if not waiting:
                        note("Ray has no agent yet that could start the job; waiting for it.")
                    waiting = True
                elif ALREADY_THERE in error.body and await self._lay(submission_id, until):
                    pass  # The id was held by the remains of a deleted job only.
                elif error.status == 500:
                    tracebacks += 1
                    if tracebacks >= PATIENCE_WITH_500:
                        raise error
            wait = pause()
            if until.left < wait:
                if waiting:
                    raise DeadlinePassed(
                        f"Waited {until.seconds:.0f} s for Ray's job agent on the head; the job was not submitted.",
                        "Is the head healthy? `check` tells.",
                    )
                raise _unclear(submission_id, error)
            await asyncio.sleep(wait)

    async def _post(self, spec: JobSpec, submission_id: str, seconds: float) -> JobsError | None:
        """One attempt. None: accepted. An error returned: nothing is known; an error raised: refused for good."""
        try:
            response = await self.http.once("POST", "/api/jobs/", json=spec.wire(submission_id), seconds=seconds)
            if response.is_success:
                answer = json_of(response, self.http.where)
                if isinstance(answer, dict) and answer.get("submission_id") == submission_id:
                    return None
                return ServerFault(f"{self.http.where} answered the submission with something else.")
        except Unreachable as unclear:
            return unclear
        error = fault(response, self.http.where)
        # An id that is taken arrives as a 500 with a traceback: looking whether the job exists settles it.
        if response.status_code in PASSING:
            return error
        raise error

    async def wait(
        self,
        submission_id: str,
        *,
        deadline: Deadline | None = None,
        patience: float = 300.0,
        poll: float = 1.0,
        seen: bool = False,
        on_change: Callable[[JobInfo], None] = lambda _info: None,
    ) -> JobInfo:
        """Polls until the job has ended.

        `patience`: seconds without any answer after which Unreachable is raised. `seen`: the job is known to have
        existed, so that a 404 means lost (JobLost) and not unknown (UnknownJob). DeadlinePassed when `deadline` passes.
        """
        until = deadline or Deadline(None)
        status, interval = "", min(0.1, poll)
        while True:
            info = await self.look(submission_id, seen=seen, patience=min(patience, until.left))
            seen = True
            if info.status != status:
                status = info.status
                on_change(info)
            if info.ended:
                return info
            if until.passed:
                raise DeadlinePassed(
                    f"Job {submission_id} is still {info.status} after {until.seconds:.0f} s.",
                    f"`logs --follow {submission_id}` attaches, `stop {submission_id}` stops it.",
                )
            await asyncio.sleep(min(interval, max(0.01, until.left)))
            interval = min(poll, interval * 1.5)

    async def look(self, submission_id: str, *, seen: bool, patience: float) -> JobInfo:
        """The job now. A 404 is believed after a second look: a head that comes back reads its store first."""
        info = await self.find(submission_id, Deadline(patience))
        if info is None and seen:
            await asyncio.sleep(1.0)
            info = await self.find(submission_id, Deadline(patience))
        if info is None:
            raise lost(submission_id) if seen else unknown(submission_id, self.http.where)
        await self.orphans.wake(info)
        return info


def attach(spec: JobSpec, there: JobInfo) -> Submission:
    """Joins the job that has this id if it is the same work. Raises Conflict with the difference otherwise."""
    if there.digest == spec.digest:
        return Submission(there.submission_id, attached=True, info=there)
    raise Conflict(
        f"A job with the id {there.submission_id} exists and is another one:\n  {difference(spec, there)}",
        "Take another --submission-id or --key, or `delete` the old job once it has ended.",
    )


def unknown(submission_id: str, where: str) -> UnknownJob:
    return UnknownJob(f"{where} knows no job {submission_id!r}.", "`list` shows the jobs that it knows.")


def _unclear(submission_id: str, error: JobsError) -> JobsError:
    return Unreachable(
        f"It is not clear whether job {submission_id} was submitted. The last thing seen: {error.what}",
        f"The same command with --submission-id {submission_id} finds out, and cannot start it twice.",
    )


def _jobs(found: list[Any], where: str) -> list[JobInfo]:
    """The records, without what Ray leaves of a job that was deleted just after its end."""
    try:
        return [info for info in map(JobInfo.from_wire, found) if info.entrypoint != GHOST]
    except (KeyError, TypeError, AttributeError) as error:
        raise ServerFault(f"{where} answered with something that is no job: {error!r}") from error


def _status_code(response: httpx.Response) -> int:
    return response.status_code


def _package_path(uri: str) -> str:
    parts = urlsplit(uri)
    return f"/api/packages/{parts.scheme}/{quote(parts.netloc, safe='')}"


async def _pieces(body: BinaryIO, total: int, progress: Callable[[int, int], None]) -> AsyncIterator[bytes]:
    body.seek(0)
    sent = 0
    while piece := body.read(256 * 1024):
        yield piece
        sent += len(piece)
        progress(sent, total)
