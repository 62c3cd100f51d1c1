"""Ray's Jobs API: a method for each endpoint, with typed answers and a deadline."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar
from urllib.parse import quote, urlsplit

from ..deadline import Deadline
from ..errors import JobsError, Refused, ServerFault, UnknownJob, Unreachable, command
from ..spec.job_info import JobInfo
from ..spec.job_record import read_job, read_jobs
from ._httpx import httpx
from .http import TRANSIENT_STATUSES, HttpClient, json_of, parsed
from .http_errors import error_of_response

if TYPE_CHECKING:
    from ..spec.job_spec import JobSpec

# Default time for one call, with all its retries.
CALL_SECONDS = 60.0
SUBMIT_SECONDS = 120.0
# The server looks up each job, and a head that has just restarted takes minutes.
LIST_SECONDS = 180.0
# A job is about 2 KB; one whose message is the end of its log has 20 KB more.
LIST_BYTES = 256 * 1024**2
LOG_TEXT_BYTES = 512 * 1024**2
# Ray's job manager writes this record over a job that was deleted within a second or two of its end. It has no content,
# and it holds the id.
GHOST = "Entrypoint not found."
# Ray's 404 about a job.
JOB_IS_ABSENT = "does not exist"

T = TypeVar("T")
AgentRoute = Callable[[str], Awaitable[HttpClient | None]]


class RayJobsApi:
    """The Jobs API of one Ray cluster. All methods raise errors of jobs.errors only.

    Args:
        http: The dashboard.
        agent_route: Access to the dashboard agent of a node by its address; None if this machine cannot reach it, or
            should not send it the token.
    """

    def __init__(self, http: HttpClient, *, agent_route: AgentRoute | None = None) -> None:
        self.http = http
        self._agent_route = agent_route
        self._listed: tuple[tuple[int, int], Sequence[JobInfo]] | None = None

    async def agent(self, address: str) -> HttpClient | None:
        """Returns the dashboard agent at this address, if it may be used."""
        return None if self._agent_route is None else await self._agent_route(address)

    async def version(self, deadline: Deadline | None = None) -> dict[str, Any]:
        """Reads `ray_version`, `session_name` (a new one after the head restarted), and more."""

        def parse(response: httpx.Response) -> dict[str, Any]:
            answer = json_of(response, self.http.where)
            if not isinstance(answer, dict) or not isinstance(answer.get("ray_version"), str):
                raise ServerFault(f"{self.http.where} is not a Ray dashboard: its /api/version has no ray_version.")
            return answer

        return await self._ask("GET", "/api/version", deadline, parse)

    async def find_job(self, submission_id: str, deadline: Deadline | None = None) -> JobInfo | None:
        """Reads the job with this submission id, or this job id of Ray; None if the server has none."""

        def parse(response: httpx.Response) -> JobInfo | None:
            if response.status_code != 404:
                return next(iter(_jobs_of(response, self.http.where, _read_one)), None)
            # Any server answers 404 to a path that it does not know; only this text is Ray's answer about the job.
            if JOB_IS_ABSENT not in response.text:
                raise error_of_response(response, self.http.where)
            return None

        return await self._ask("GET", _job_path(submission_id), deadline, parse, allowed=(404,))

    async def list_jobs(
        self, deadline: Deadline | None = None, *, attempt_seconds: float | None = None
    ) -> Sequence[JobInfo]:
        """Lists all jobs that the server knows, submitted ones and drivers, oldest first. It may take minutes.

        Args:
            deadline: The end of all attempts.
            attempt_seconds: There is one attempt, of so many seconds; None: it is repeated until the deadline.

        Returns:
            The jobs; the same list as before if the answer is the same, because most of the time goes into reading it.
        """

        def parse(response: httpx.Response) -> Sequence[JobInfo]:
            mark = (len(response.content), hash(response.content))
            if self._listed is None or self._listed[0] != mark:
                jobs = sorted(_jobs_of(response, self.http.where, read_jobs), key=lambda job: job.start_time or 0)
                self._listed = mark, jobs
            return self._listed[1]

        deadline = deadline or Deadline(attempt_seconds or LIST_SECONDS)
        options = {"seconds": attempt_seconds or LIST_SECONDS, "retry": attempt_seconds is None, "most": LIST_BYTES}
        return await self._ask("GET", "/api/jobs/", deadline, parse, **options)

    async def post_job(
        self, spec: JobSpec, submission_id: str, seconds: float, about: Mapping[str, str] | None = None
    ) -> JobsError | None:
        """Tries once to create the job. Returns None if it was accepted, an error if that is not clear.

        `about`: see `JobSpec.wire`. Raises the error if the server refused the job for good.
        """
        try:
            from ..user import user_for_cluster

            body = spec.wire(submission_id, user_for_cluster(), about)
            response = await self.http.once("POST", "/api/jobs/", json=body, seconds=seconds)
            if response.is_success:
                answer = json_of(response, self.http.where)
                if isinstance(answer, dict) and answer.get("submission_id") == submission_id:
                    return None
                return ServerFault(f"{self.http.where} did not answer the submission with the id of the job.")
        except Unreachable as unclear:
            return unclear
        return _transient(response, self.http.where)

    async def stop_job(self, submission_id: str, deadline: Deadline | None = None) -> None:
        """Asks for the stop. A job that has ended stays as it is. Raises UnknownJob."""
        path = f"{_job_path(submission_id)}/stop"
        if await self._ask("POST", path, deadline, _status_code, allowed=(404,)) == 404:
            raise unknown_job(submission_id, self.http.where)

    async def delete_job(self, submission_id: str, deadline: Deadline | None = None) -> None:
        """Deletes the record of a job. It is no error if there is none: the first answer may have been lost."""
        await self._ask("DELETE", _job_path(submission_id), deadline, _status_code, allowed=(404,))

    async def has_ghost(self, submission_id: str, deadline: Deadline | None = None) -> bool:
        """Returns whether the id is held by the record that Ray left of a deleted job."""

        def parse(response: httpx.Response) -> bool:
            if not response.is_success or GHOST not in response.text:
                return False
            return not _jobs_of(response, self.http.where, _read_one)

        return await self._ask("GET", _job_path(submission_id), deadline, parse, allowed=(404,))

    async def job_log_text(self, submission_id: str, deadline: Deadline | None = None) -> str:
        """Reads the log as the server decodes it: bytes that are not UTF-8, and carriage returns, are lost."""

        def parse(response: httpx.Response) -> str:
            answer = json_of(response, self.http.where)
            if not isinstance(answer, dict) or not isinstance(answer.get("logs"), str):
                raise ServerFault(f"{self.http.where} answered the request for a log without a log.")
            return str(answer["logs"])

        return await self._ask("GET", f"{_job_path(submission_id)}/logs", deadline, parse, most=LOG_TEXT_BYTES)

    async def package_exists(self, uri: str, deadline: Deadline | None = None) -> bool:
        """Returns whether the server has the package. If it has, it keeps it for another ten minutes."""
        return await self._ask("GET", _package_path(uri), deadline, _status_code, allowed=(404,)) != 404

    async def put_package(
        self, uri: str, body: BinaryIO, size: int, on_sent: Callable[[int], None], seconds: float
    ) -> JobsError | None:
        """Tries once to upload a package. Returns None if it arrived, an error if that is not clear.

        `on_sent` is called with the size of each piece that was sent.

        Raises the error if the server refused the package for good.
        """
        try:
            response = await self.http.once(
                "PUT",
                _package_path(uri),
                seconds=seconds,
                content=_read_pieces(body, on_sent),
                headers={"Content-Length": str(size), "Content-Type": "application/octet-stream"},
            )
        except Unreachable as unclear:
            return unclear
        return None if response.is_success else _transient(response, self.http.where)

    async def autoscaler_error(self, deadline: Deadline | None = None) -> str | None:
        """Reads the autoscaler's error, if it has one."""

        def parse(response: httpx.Response) -> str | None:
            answer = json_of(response, self.http.where)
            status = answer.get("data") if isinstance(answer, dict) else None
            if not isinstance(status, dict):
                raise ServerFault(f"{self.http.where} answered /api/cluster_status in another form than Ray 2.60.")
            error = status.get("autoscalingError")
            return str(error) if error else None

        return await self._ask("GET", "/api/cluster_status", deadline, parse)

    async def _ask(
        self,
        method: str,
        path: str,
        deadline: Deadline | None,
        parse: Callable[[httpx.Response], T],
        **options: Any,
    ) -> T:
        return await self.http.ask(method, path, deadline=deadline or Deadline(CALL_SECONDS), parse=parse, **options)


def unknown_job(submission_id: str, where: str) -> UnknownJob:
    """Returns the error for an id that the server does not know."""
    return UnknownJob(f"{where} knows no job {submission_id!r}.", f"{command('list')} shows the jobs that it knows.")


def not_submitted(job: JobInfo) -> Refused:
    """Returns the error for what Ray can do with submitted jobs only."""
    shown = job.shown()
    place = f" It is process {shown.driver_pid} on node {shown.driver_node_ip}." if job.driver_pid else ""
    return Refused(
        f"Job {shown.submission_id} is a driver: a program that connected to Ray by itself (`ray.init`), and was not "
        f"submitted. Ray has no log of it and cannot stop, delete or repeat it.{place}",
        f"Its output is where it was started; end it there. {command(f'status {shown.submission_id}')} and "
        f"{command(f'wait {shown.submission_id}')} work.",
    )


def _transient(response: httpx.Response, where: str) -> JobsError:
    """Returns the error of an unsuccessful answer. Raises it if the same request would fail again."""
    error = error_of_response(response, where)
    if response.status_code in TRANSIENT_STATUSES:
        return error
    raise error


def _jobs_of(response: httpx.Response, where: str, read: Callable[[bytes], list[JobInfo]]) -> list[JobInfo]:
    """Reads the jobs of an answer, without ghosts."""
    try:
        return [job for job in parsed(response, where, read) if job.entrypoint != GHOST]
    except TypeError as error:
        raise ServerFault(f"{where} answered with something that is no job: {error}.") from error


def _read_one(body: bytes) -> list[JobInfo]:
    return [read_job(body)]


def _status_code(response: httpx.Response) -> int:
    return response.status_code


def _job_path(submission_id: str) -> str:
    return f"/api/jobs/{quote(submission_id, safe='', errors='replace')}"


def _package_path(uri: str) -> str:
    parts = urlsplit(uri)
    return f"/api/packages/{parts.scheme}/{quote(parts.netloc, safe='')}"


async def _read_pieces(body: BinaryIO, on_sent: Callable[[int], None]) -> AsyncIterator[bytes]:
    body.seek(0)
    while piece := body.read(256 * 1024):
        yield piece
        on_sent(len(piece))
