"""The API for programs: jobs, logs and events as data. docs/keeper-api.yaml describes it."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from ...ledger.records import Entry
from .byte_ranges import Unsatisfiable, parse_range, without_gap
from .events import HAS_ENDED, MOST_STREAMS, stream
from .filters import parse_filters, whole_number
from .metrics import CONTENT_TYPE, Durations, metrics_text
from .words import job_name, reason

if TYPE_CHECKING:
    from ...ledger.kept import Event, KeptJobs, LogExtent
    from .access import Access
    from .app import Served

_NOT_OF_FILE_NAMES = re.compile(r"[^A-Za-z0-9._-]+")
_LAST_SEQ = 2**53
_BLOCK = 1024 * 1024


def job_json(entry: Entry) -> dict[str, Any]:
    """Returns a job as data: all that the store has of it, and in words why it failed or waits."""
    found = reason(entry)
    return {**entry.as_json(), "name": job_name(entry) or None, "reason": found.text if found else None}


class Api:
    """The routes of the API over one store."""

    def __init__(self, served: Served) -> None:
        self._kept: KeptJobs = served.kept
        self._access: Access = served.access
        self._served = served
        self._streams = 0
        self._durations: Durations | None = None

    def jobs(self, request: Request) -> Response:
        """GET /v1/jobs"""
        filters = parse_filters(request.query_params, time.time())
        page = self._kept.jobs(
            status=filters.status, **filters.arguments, limit=filters.limit, cursor=filters.cursor or None
        )
        return JSONResponse({"jobs": [job_json(entry) for entry in page.entries], "cursor": page.cursor})

    def job(self, request: Request) -> Response:
        """GET /v1/jobs/ID"""
        entry = self._kept.job(request.path_params["submission_id"])
        return no_job() if entry is None else JSONResponse(job_json(entry))

    def log(self, request: Request) -> Response:
        """GET and HEAD /v1/jobs/ID/log"""
        submission_id = request.path_params["submission_id"]
        entry = self._kept.job(submission_id)
        if entry is None:
            return no_job()
        extent = self._kept.log_extent(submission_id)
        if extent is None:
            return error(404, "No log of this job is kept.")
        etag = _etag(entry, extent)
        headers = {"Accept-Ranges": "bytes", "ETag": etag}
        if extent.gap:
            headers["Rayjobs-Log-Gap"] = f"{extent.gap[0]}-{extent.gap[1] - 1}"
        if "download" in request.query_params:
            name = _NOT_OF_FILE_NAMES.sub("_", submission_id)[:100]
            headers["Content-Disposition"] = f'attachment; filename="{name}.log"'
        if _matches(request.headers.get("if-none-match"), etag):
            return Response(status_code=304, headers=headers)
        wanted = request.headers.get("range") if request.headers.get("if-range", etag) == etag else None
        try:
            chosen = parse_range(wanted, extent.total)
            if chosen is not None:
                chosen = without_gap(*chosen, extent.gap)
        except Unsatisfiable:
            answer = error(416, f"The log has {extent.total} bytes, and keeps none of this range.")
            answer.headers.update({**headers, "Content-Range": f"bytes */{extent.total}"})
            return answer
        if chosen is not None:
            headers["Content-Range"] = f"bytes {chosen[0]}-{chosen[1] - 1}/{extent.total}"
            return _bytes(request, self._read(submission_id, *chosen), chosen[1] - chosen[0], 206, headers)
        if extent.gap is None:
            return _bytes(request, self._read(submission_id, 0, extent.total), extent.total, 200, headers)
        # What follows has other offsets than the log: it cannot be compared with a range of it.
        del headers["ETag"]
        notice = _notice(extent.gap)
        size = extent.total - (extent.gap[1] - extent.gap[0]) + len(notice)
        return _bytes(request, self._around_gap(submission_id, extent.total, extent.gap, notice), size, 200, headers)

    def _around_gap(self, submission_id: str, total: int, gap: tuple[int, int], notice: bytes) -> Iterator[bytes]:
        yield from self._read(submission_id, 0, gap[0])
        yield notice
        yield from self._read(submission_id, gap[1], total)

    def _read(self, submission_id: str, start: int, stop: int) -> Iterator[bytes]:
        # Each block by a call of its own: the threads that ask for the next one differ, and the store's connection
        # belongs to one thread.
        for at in range(start, stop, _BLOCK):
            yield b"".join(self._kept.read_log(submission_id, at, min(stop, at + _BLOCK)))

    def events(self, request: Request) -> Response:
        """GET /v1/events"""
        query = request.query_params
        after = whole_number(query, "after", 0, 0, _LAST_SEQ) if "after" in query else None
        last = request.headers.get("last-event-id", "")
        if last.isascii() and last.isdecimal():
            after = min(int(last[:18]), _LAST_SEQ)
        if self._streams >= MOST_STREAMS:
            return error(503, f"{MOST_STREAMS} readers of events are connected.", {"Retry-After": "10"})
        job, kinds = query.get("job"), frozenset(query.getlist("kind"))

        def is_wanted(event: Event) -> bool:
            return (job is None or event.submission_id == job) and (not kinds or event.kind in kinds)

        texts = stream(self._kept, after, is_wanted, request.scope.get(HAS_ENDED, lambda: False))
        return StreamingResponse(self._counted(texts), media_type="text/event-stream")

    async def _counted(self, texts: AsyncIterator[str]) -> AsyncIterator[str]:
        self._streams += 1
        try:
            async for text in texts:
                yield text
        finally:
            self._streams -= 1

    def new_page_key(self, request: Request) -> Response:
        """POST /v1/page-keys"""
        if not request.scope.get("by_token"):
            return error(403, "Only a program with the cluster's token gets a key for the page.")
        return JSONResponse({"path": self._access.new_path()}, status_code=201)

    def healthz(self, _request: Request) -> Response:
        """GET /healthz"""
        problems = list(self._served.state().problems)
        status, code = ("degraded", 503) if problems else ("ok", 200)
        return JSONResponse({"status": status, "problems": problems}, code)

    def livez(self, _request: Request) -> Response:
        """GET /livez"""
        return JSONResponse({"status": "ok", "problems": []})

    def metrics(self, _request: Request) -> Response:
        """GET /metrics"""
        if self._durations is None:
            self._durations = Durations(self._kept, self._kept.newest_event())
        queue, run = self._durations.update()
        text = metrics_text(self._kept.counts(), queue, run, self._kept.bytes_kept(), self._served.state())
        return Response(text, headers={"Content-Type": CONTENT_TYPE})


def error(status: int, message: str, headers: dict[str, str] | None = None, remedy: str = "") -> JSONResponse:
    """Returns the answer for an error."""
    return JSONResponse({"error": message, "remedy": remedy}, status, headers)


def no_job() -> JSONResponse:
    return error(404, "No job with this id is kept.")


def _etag(entry: Entry, extent: LogExtent) -> str:
    # An id may be used again, and a log that grows has another content.
    what = f"{entry.submission_id}\0{entry.created}\0{extent.total}\0{extent.gap}"
    return f'"{hashlib.sha256(what.encode(errors="replace")).hexdigest()[:32]}"'


def _matches(header: str | None, etag: str) -> bool:
    given = [each.strip().removeprefix("W/") for each in (header or "").split(",")]
    return etag in given or "*" in given


def _notice(gap: tuple[int, int]) -> bytes:
    return f"\n[rayjobs: {gap[1] - gap[0]} bytes of this log are not kept: {gap[0]} to {gap[1] - 1}]\n".encode()


def _bytes(request: Request, data: Iterator[bytes], size: int, status: int, headers: dict[str, str]) -> Response:
    headers = {**headers, "Content-Length": str(size)}
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type="text/plain")
    return StreamingResponse(data, status, headers, "text/plain")
