"""A keeper's API for programs, as docs/keeper-api.yaml describes it: kept jobs, and their logs from any byte."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from ..dashboard._httpx import httpx
from ..dashboard.http import MOST_ERROR_BYTES, TRANSIENT_STATUSES, HttpClient, read_answer, read_json
from ..dashboard.http_errors import UnusableAnswer
from ..dashboard.log_end import FIRST_BYTES, GROWTH, MOST_BYTES, LastLines
from ..deadline import Backoff, Deadline
from ..diagnose.finding import ALERT, CAUSE, CLUE, FACT, UNREAD, Finding
from ..errors import JobsError, NotAllowed, Refused, ServerFault, UnknownJob, Unreachable
from ..ledger.git import Commit
from ..ledger.kept import LogExtent
from ..ledger.records import Entry, Origin, Place
from ..spec.job_info import JobInfo
from ..spec.levels import check_levels
from ..spec.shown import shown

# One question with all its repetitions.
SECONDS = 30.0
# How long a log that stops coming is tried again.
LOG_SECONDS = 60.0
MOST_OF_A_PAGE = 500
_PAGE_BYTES = 64 * 1024**2
_RANGE = re.compile(r"bytes (?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18})")
_GAP = re.compile(r"(\d{1,18})-(\d{1,18})")
_ALL_FAILURES = tuple(range(300, 600))
_KINDS = (FACT, CAUSE, CLUE, ALERT, UNREAD)
_IS_IT_ONE = "Is it a keeper's address? `rayjobs keep` says where it listens. Its version may be another one too."

T = TypeVar("T")
# Up to the last second of the year 9999, the last one that a date can have.
LAST_SECOND = 253_402_300_799  # of the year 9999
Seconds = Annotated[float, msgspec.Meta(ge=0, le=LAST_SECOND)]


class _Change(msgspec.Struct):
    status: str
    at: Seconds


class _Commit(msgspec.Struct):
    sha: str
    dirty: bool = False


class _Record(msgspec.Struct):
    """A job as the API has it. Unknown fields are ignored, so that a newer keeper can have more."""

    submission_id: str
    status: str
    status_at: Seconds
    created: Seconds
    identity: str
    kind: str
    spec: dict[str, Any]
    changes: list[_Change] = []
    reason: str | None = None
    started_at: Seconds | None = None
    ended_at: Seconds | None = None
    why: dict[str, Any] | None = None
    driver_exit_code: int | None = None
    error_type: str | None = None
    message: str | None = None
    withheld: list[str] = []
    digest: str = ""
    package: str | None = None
    user: str = ""
    host: str = ""
    source: str = "seen"
    driver_node: str | None = None
    job_id: str | None = None
    stack: str | None = None
    cluster: str | None = None
    namespace: str | None = None
    key: str | None = None
    attempt_of: str | None = None
    attempt: int = 0
    batch: str | None = None
    working_dir: str | None = None
    modules: list[str] = []
    commit: _Commit | None = None
    package_bytes: int | None = None


class _Page(msgspec.Struct):
    jobs: list[_Record]
    cursor: str | None = None


@dataclass(frozen=True)
class RecordedWhy:
    """What `why` said of a job at the time `at`, in seconds since the epoch."""

    at: float
    findings: list[Finding]


@dataclass(frozen=True)
class KeptJob:
    """A job that a keeper has.

    Attributes:
        entry: Its record.
        reason: Why it failed or waits, in words; None if there is nothing to say.
        keeper: The name of the keeper in messages.
    """

    entry: Entry
    reason: str | None
    keeper: str

    @property
    def info(self) -> JobInfo:
        """The job as the server would show it."""
        entry, spec = self.entry, self.entry.spec
        runtime_env = spec.get("runtime_env")
        return JobInfo(
            entry.submission_id,
            entry.status,
            str(spec.get("entrypoint") or ""),
            entry.message or "",
            entry.error_type,
            job_id=entry.job_id,
            start_time=_milliseconds(entry.started_at),
            end_time=_milliseconds(entry.ended_at),
            metadata={str(key): str(value) for key, value in entry.metadata.items()},
            runtime_env=runtime_env if isinstance(runtime_env, dict) else {},
            driver_exit_code=entry.driver_exit_code,
            driver_node_id=entry.driver_node,
        )

    @property
    def why(self) -> RecordedWhy | None:
        """What was recorded when it failed or waited; None: nothing was."""
        why = self.entry.why or {}
        at, findings = why.get("at"), why.get("findings")
        if not isinstance(at, int | float) or not 0 <= at <= LAST_SECOND or not isinstance(findings, list):
            return None
        read = [_finding(each) for each in findings if isinstance(each, dict)]
        return RecordedWhy(float(at), [each for each in read if each.kind in _KINDS and each.text])

    def as_json(self) -> dict[str, Any]:
        """Returns the object of `history --team --output json`."""
        return {**self.entry.as_json(), "reason": self.reason}


class KeeperApi:
    """The API of one keeper.

    Every method raises NotAllowed if the keeper refuses the token, Unreachable if it does not answer, and ServerFault
    if it answers with something else.

    Args:
        http: Where it answers. `http.where` is its name in messages.
        unreachable: What helps if it does not answer.
    """

    def __init__(self, http: HttpClient, unreachable: str = "") -> None:
        self._http = http
        self._unreachable = unreachable

    @property
    def url(self) -> str:
        """Where this process reaches it."""
        return self._http.base_url

    @property
    def where(self) -> str:
        """Its name in messages."""
        return self._http.where

    async def job(self, submission_id: str, seconds: float = SECONDS) -> KeptJob | None:
        """Returns the newest job with this id; None if the keeper has none."""

        def parse(response: httpx.Response) -> KeptJob | None:
            # A keeper says why in JSON. Another server's 404 is not about the job.
            return None if response.status_code == 404 else _kept(self._read(_JOB, response), self.where)

        return await self._ask(_job_path(submission_id), parse, seconds, absent=True)

    async def jobs(self, filters: Mapping[str, str], limit: int) -> tuple[list[KeptJob], bool]:
        """Returns the newest jobs, newest first, and whether there are more.

        Args:
            filters: Parameters of `GET /v1/jobs`: status, user, name, since, until, search.
            limit: The largest number of jobs. More than 500 are read in several pages.

        Raises:
            Refused: A filter is not possible.
        """
        found: list[KeptJob] = []
        cursor: str | None = None
        while True:
            query = dict(filters) | {"limit": str(min(MOST_OF_A_PAGE, limit - len(found)))}
            path = f"/v1/jobs?{urlencode(query | ({'cursor': cursor} if cursor else {}))}"
            page = await self._ask(path, lambda response: self._read(_PAGE, response), SECONDS, most=_PAGE_BYTES)
            found += [_kept(record, self.where) for record in page.jobs]
            cursor = page.cursor
            if cursor is None or not page.jobs or len(found) >= limit:
                return found[:limit], cursor is not None

    async def page_path(self, submission_id: str | None = None) -> str:
        """Returns the path that opens the page in a browser of this machine, once, within a minute.

        Args:
            submission_id: The job whose page is opened; None: the list of jobs.
        """

        def parse(response: httpx.Response) -> str:
            answer = self._json(response)
            path = answer.get("path") if isinstance(answer, dict) else None
            if not isinstance(path, str) or not path.startswith("/open?"):
                raise self._no_keeper(response)
            return path_to(path, submission_id)

        return await self._ask("/v1/page-keys", parse, SECONDS, method="POST")

    async def log_extent(self, submission_id: str) -> LogExtent | None:
        """Returns what is kept of a log; None if nothing is. `complete` is not known: it is False."""
        async with self._http.stream(_log_path(submission_id), headers={"Range": "bytes=0-0"}) as response:
            part = await self._part(response)
            return None if part is None else LogExtent(part.total, part.gap, False)

    async def log(
        self,
        submission_id: str,
        offset: int = 0,
        stop: int | None = None,
        on_gap: Callable[[tuple[int, int]], None] = lambda _gap: None,
    ) -> AsyncGenerator[bytes, None]:
        """Yields the bytes of a log as the job wrote them, also after a broken connection.

        Args:
            submission_id: The job.
            offset: The first byte.
            stop: The byte after the last one; None: up to the end, as it is now.
            on_gap: Called with the limits of bytes that are not kept, when they would come.

        Raises:
            UnknownJob: The keeper has no log of this job.
        """
        backoff, progress_at = Backoff(first=0.2), time.monotonic()
        while stop is None or offset < stop:
            begun = offset
            try:
                header = f"bytes={offset}-{'' if stop is None else stop - 1}"
                async with self._http.stream(_log_path(submission_id), headers={"Range": header}) as response:
                    part = await self._part(response)
                    if part is None:
                        raise UnknownJob(f"{self.where} has no log of job {submission_id!r}.")
                    if part.gap and part.gap[0] <= offset < part.gap[1]:
                        on_gap((offset, part.gap[1]))
                        offset = part.gap[1]
                    elif part.start is None:
                        return
                    elif part.start != offset:
                        raise self._no_keeper(response, f": bytes from {part.start} on instead of {offset}")
                    if part.start == offset:
                        async for piece in response.aiter_raw():
                            offset += len(piece)
                            yield piece
                    if offset >= part.total:
                        return
                if offset == begun:
                    raise Unreachable(f"{self.where} sent nothing from byte {offset} of the log on.")
            except Unreachable as error:
                if isinstance(error, NotAllowed) or _is_final(error):
                    raise
                if offset > begun:
                    progress_at = time.monotonic()
                    backoff.reset()
                if time.monotonic() - progress_at > LOG_SECONDS:
                    raise Unreachable(
                        f"{error.message} The log was read to byte {offset}.", self._unreachable
                    ) from None
                await backoff.pause()

    async def last_lines(self, submission_id: str, lines: int) -> bytes:
        """Returns the last lines of a log as it is now, without reading the rest of it. Raises UnknownJob."""
        extent = await self.log_extent(submission_id)
        if extent is None:
            raise UnknownJob(f"{self.where} has no log of job {submission_id!r}.")
        first, size = extent.gap[1] if extent.gap else 0, FIRST_BYTES
        while True:
            start, last = max(first, extent.total - size), LastLines(lines)
            async with aclosing(self.log(submission_id, start, extent.total)) as pieces:
                async for piece in pieces:
                    last.add(piece)
            if start == first or last.is_full or size >= MOST_BYTES:
                return last.data
            size *= GROWTH

    async def _part(self, response: httpx.Response) -> _Part | None:
        """Reads which bytes an answer has; None: there is no such log."""
        status = response.status_code
        place = _RANGE.fullmatch(response.headers.get("content-range", ""))
        if status in (206, 416) and place is not None:
            gap = _GAP.fullmatch(response.headers.get("rayjobs-log-gap", ""))
            start = None if place[1] is None else int(place[1])
            return _Part(start, int(place[3]), (int(gap[1]), int(gap[2]) + 1) if gap else None)
        if response.is_success:
            raise UnusableAnswer(
                f"{self.where} answered without the range of bytes that was asked for (HTTP {status}).",
                "A proxy in front of it must pass on the header Range.",
            )
        read = await read_answer(response, self.where, MOST_ERROR_BYTES)
        error = self._error(read)
        if status == 404 and not isinstance(error, UnusableAnswer):
            return None
        raise error

    async def _ask(
        self,
        path: str,
        parse: Callable[[httpx.Response], T],
        seconds: float,
        *,
        method: str = "GET",
        absent: bool = False,
        **options: Any,
    ) -> T:
        """`absent`: `parse` gets the keeper's 404 as well."""

        def read(response: httpx.Response) -> T:
            if response.is_success:
                return parse(response)
            error = self._error(response)
            if absent and response.status_code == 404 and not isinstance(error, UnusableAnswer):
                return parse(response)
            raise error

        try:
            return await self._http.ask(
                method, path, deadline=Deadline(seconds), parse=read, allowed=_ALL_FAILURES, **options
            )
        except (NotAllowed, ServerFault):
            raise
        except Unreachable as error:
            raise Unreachable(error.message, self._unreachable or error.remedy) from None

    def _read(self, decoder: msgspec.json.Decoder[T], response: httpx.Response) -> T:
        try:
            record = decoder.decode(response.content)
            check_levels(msgspec.to_builtins(record))
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise self._no_keeper(response, f": {shown(str(error), 200)}") from None
        return record

    def _json(self, response: httpx.Response) -> Any:
        try:
            return read_json(response.content)
        except (ValueError, RecursionError):
            raise self._no_keeper(response) from None

    def _error(self, response: httpx.Response) -> JobsError:
        """Converts an unsuccessful answer."""
        status = response.status_code
        try:
            answer = read_json(response.content)
        except (ValueError, RecursionError):
            answer = None
        said = answer.get("error") if isinstance(answer, dict) else None
        if not isinstance(said, str):
            if status in (401, 403) or response.is_redirect:
                what = "redirects, perhaps to a login" if response.is_redirect else "requires a login"
                return NotAllowed(f"{self.where}: something in front of it {what} (HTTP {status}).", _IS_IT_ONE)
            return (
                self._no_keeper(response)
                if status < 500
                else ServerFault(f"{self.where} answered HTTP {status}.", status=status)
            )
        text, remedy = shown(said, 500), shown(str(answer.get("remedy") or ""), 500)
        if status in (401, 403):
            return NotAllowed(
                f"{self.where} refuses this request (HTTP {status}): {text}",
                "It accepts the token of the cluster that it keeps; if that has none, the one in its own folder. Name "
                "the file with --token-file; with --address, RAY_AUTH_TOKEN and RAY_AUTH_TOKEN_PATH count too.",
            )
        if status == 400:
            return Refused(f"{self.where}: {text}", remedy)
        return ServerFault(f"{self.where} answered HTTP {status}: {text}", remedy, status=status)

    def _no_keeper(self, response: httpx.Response, detail: str = "") -> UnusableAnswer:
        return UnusableAnswer(
            f"{self.where} does not answer as a keeper of this version (HTTP {response.status_code}){detail}.",
            _IS_IT_ONE,
            status=response.status_code,
        )


@dataclass(frozen=True)
class _Part:
    """What an answer has of a log: bytes from `start` on (None: none), of `total`; `gap` as in LogExtent."""

    start: int | None
    total: int
    gap: tuple[int, int] | None


_JOB = msgspec.json.Decoder(_Record)
_PAGE = msgspec.json.Decoder(_Page)


def _kept(record: _Record, keeper: str) -> KeptJob:
    if not isinstance(record.spec.get("metadata") or {}, dict):
        record.spec = {**record.spec, "metadata": {}}
    place = Place(record.identity, record.kind, record.stack, record.cluster, record.namespace)
    commit = Commit(record.commit.sha, record.commit.dirty) if record.commit else None
    origin = Origin(
        record.key,
        record.attempt_of,
        record.attempt,
        record.batch,
        record.working_dir,
        commit,
        tuple(record.modules),
        record.package_bytes,
    )
    entry = Entry(
        record.submission_id,
        place,
        origin,
        record.spec,
        record.withheld,
        record.digest,
        record.package,
        record.user,
        record.host,
        record.created,
        record.status,
        record.status_at,
        record.driver_exit_code,
        record.error_type,
        tuple((change.status, change.at) for change in record.changes),
        record.driver_node,
        record.job_id,
        record.message,
        record.started_at,
        record.ended_at,
        record.why,
        record.source,
    )
    return KeptJob(entry, record.reason, keeper)


def _finding(raw: Mapping[str, Any]) -> Finding:
    kind, text, remedy = (str(raw.get(key) or "") for key in ("kind", "text", "remedy"))
    return Finding(kind, text, remedy)


def _is_final(error: Unreachable) -> bool:
    """Whether the same request would fail again."""
    return isinstance(error, ServerFault) and error.status not in TRANSIENT_STATUSES


def path_to(path: str, submission_id: str | None) -> str:
    """Returns the path that opens the page at a job, from one that opens it; None: as it is."""
    return path if submission_id is None else f"{path}&{urlencode({'job': submission_id}, errors='replace')}"


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds * 1000)


def _job_path(submission_id: str) -> str:
    return f"/v1/jobs/{quote(submission_id, safe='', errors='replace')}"


def _log_path(submission_id: str) -> str:
    return f"{_job_path(submission_id)}/log"
