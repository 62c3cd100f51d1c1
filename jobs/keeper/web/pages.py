"""The pages for people, rendered here: they work without JavaScript, which only updates them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from ...ledger.records import Entry
from ...spec.durations import show_duration
from ...spec.shown import cell, shown, visible
from .access import SESSION_SECONDS
from .filters import ACTIVE, ENDED, STATUSES, Filters, parse_filters, whole_number
from .log_parts import Part, line_start, part_before, part_from, search
from .timeline import begin, status_words, timeline, total_seconds
from .words import exit_words, job_name, outcome, reason, resubmit_command

if TYPE_CHECKING:
    from ...ledger.kept import KeptJobs, LogExtent
    from .app import Served

_HERE = Path(__file__).parent
# Jobs that wait or run, on the page; further ones are behind a link.
MOST_ACTIVE = 100
LOG_END_BYTES = 32 * 1024
_LAST_BYTE = 10**15


class Pages:
    """The routes of the pages over one store."""

    def __init__(self, served: Served) -> None:
        self._kept: KeptJobs = served.kept
        self._served = served
        self._templates = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {
            "visible": lambda text: visible(str(text)),
            "visible_lines": lambda text: visible(str(text), lines=True),
            "shown_lines": lambda text: shown(str(text), lines=True),
            "duration": show_duration,
            "size": show_size,
            "iso": _iso,
            "quoted": lambda text: quote(str(text), safe="", errors="replace"),
            "utc": _utc,
            "status_words": status_words,
        }
        self._templates.globals |= {"job_path": job_path}

    def open(self, request: Request) -> Response:
        """GET /open: a one-time key becomes a cookie, and the page of `job` opens, or the list of jobs."""
        if request.method != "GET":
            return Response(status_code=405, headers={"Allow": "GET"})
        session = self._served.access.use_key(request.query_params.get("key", ""))
        if session is None:
            return self.message(403, "This link was used before, or is too old.", "Run `rayjobs page` again.")
        job = request.query_params.get("job")
        answer = RedirectResponse(job_path(job) if job else "/", status_code=303)
        cookie, seconds = self._served.access.cookie, int(SESSION_SECONDS)
        answer.set_cookie(cookie, session, max_age=seconds, path="/", httponly=True, samesite="strict")
        return answer

    def jobs(self, request: Request) -> Response:
        """GET /: what waits and runs now, then the others, newest first."""
        now = time.time()
        event = self._kept.newest_event()
        filters = parse_filters(request.query_params, now)
        wanted = filters.status or STATUSES
        active_status = [status for status in ACTIVE if status in wanted]
        ended_status = [status for status in ENDED if status in wanted]
        active, more_active = [], False
        if active_status and not filters.cursor:
            page = self._kept.jobs(status=active_status, **filters.arguments, limit=MOST_ACTIVE)
            active, more_active = page.entries, page.cursor is not None
        history, cursor = [], None
        if ended_status:
            page = self._kept.jobs(
                status=ended_status, **filters.arguments, limit=filters.limit, cursor=filters.cursor or None
            )
            history, cursor = page.entries, page.cursor
        return self._page(
            "jobs.html",
            here="/",
            filters=filters,
            counts=_counts(self._kept.counts()),
            statuses=STATUSES,
            active=[_row(entry, now) for entry in active],
            more_active=more_active,
            active_query=filters.as_query(status="") + "&" + urlencode([("status", each) for each in ACTIVE]),
            history=[_row(entry, now) for entry in history],
            next_query=filters.as_query(cursor=cursor) if cursor else None,
            status_queries={status: Filters(status=(status,)).as_query() for status in STATUSES},
            event=event,
        )

    def job(self, request: Request) -> Response:
        """GET /jobs/ID: why it failed, its states, its log, and all that is known of it."""
        submission_id, now = request.path_params["submission_id"], time.time()
        event = self._kept.newest_event()
        entry = self._kept.job(submission_id)
        if entry is None:
            return self.message(404, "No job with this id is kept.", "It may be older than what is kept.")
        extent = self._kept.log_extent(submission_id)
        return self._page(
            "job.html",
            job=entry,
            name=job_name(entry),
            outcome=outcome(entry, now),
            reason=reason(entry, self._log_end(submission_id, extent) if entry.status == "FAILED" else ""),
            steps=timeline(entry, now),
            exit_words=exit_words,
            resubmit=resubmit_command(entry),
            attempts=[each for each in self._kept.attempts(submission_id) if each.submission_id != submission_id],
            submitted=begin(entry),
            spec_rows=_spec_rows(entry),
            extent=extent,
            log=None if extent is None else self._log_view(request, submission_id, extent),
            event=event,
        )

    def log_part(self, request: Request) -> Response:
        """GET /jobs/ID/log-part: some lines of the log as HTML, for the page's own JavaScript."""
        submission_id = request.path_params["submission_id"]
        extent = self._kept.log_extent(submission_id)
        if extent is None:
            return self.message(404, "No log of this job is kept.", "")
        part = self._chosen_part(request, submission_id, extent, request.query_params.get("find", "")[:200])
        return self._page("log_part.html", part=part, extent=extent)

    def cluster(self, _request: Request) -> Response:
        """GET /cluster: the live cluster and the keeper."""
        view = self._served.cluster
        state = None if view is None else view.state()
        return self._page(
            "cluster.html",
            here="/cluster",
            state=state,
            keeper=self._served.state(),
            bytes_kept=self._kept.bytes_kept(),
            event=self._kept.newest_event(),
        )

    def message(self, status: int, message: str, remedy: str) -> Response:
        """Returns a page with one message."""
        return self._page("message.html", status, message=message, remedy=remedy)

    def _page(self, template: str, status: int = 200, /, **values: Any) -> Response:
        values = {"has_cluster": self._served.cluster is not None, "event": 0, "here": "", **values}
        html = self._templates.get_template(template).render(values)
        # A half of a surrogate pair has no bytes.
        return HTMLResponse(html.encode(errors="replace"), status)

    def _read(self, submission_id: str, start: int, stop: int) -> bytes:
        return b"".join(self._kept.read_log(submission_id, start, stop)) if start < stop else b""

    def _log_end(self, submission_id: str, extent: LogExtent | None) -> str:
        if extent is None:
            return ""
        start = max(0, extent.total - LOG_END_BYTES, extent.gap[1] if extent.gap else 0)
        return self._read(submission_id, start, extent.total).decode(errors="replace")

    def _chosen_part(self, request: Request, submission_id: str, extent: LogExtent, find: str) -> Part:
        query = request.query_params

        def read(start: int, stop: int) -> bytes:
            return self._read(submission_id, start, stop)

        if "from" in query:
            # Where a part starts or stops. The start of its line may be a whole part before it: then the page would get
            # the same lines again.
            return part_from(read, extent, whole_number(query, "from", 0, 0, _LAST_BYTE), find)
        if query.get("percent"):
            start = extent.total * whole_number(query, "percent", 0, 0, 100) // 100
            if start < extent.total:
                return part_from(read, extent, line_start(read, extent, start), find)
        stop = whole_number(query, "before", extent.total, 0, _LAST_BYTE) if "before" in query else extent.total
        return part_before(read, extent, stop, find)

    def _log_view(self, request: Request, submission_id: str, extent: LogExtent) -> dict[str, Any]:
        find = request.query_params.get("find", "")[:200]
        view: dict[str, Any] = {"find": find, "found": "", "next": None}

        def read(start: int, stop: int) -> bytes:
            return self._read(submission_id, start, stop)

        if not find:
            return {**view, "part": self._chosen_part(request, submission_id, extent, "")}
        after = whole_number(request.query_params, "after", 0, 0, _LAST_BYTE)
        found = search(read, extent, find, after)
        if found.at is not None:
            start = line_start(read, extent, found.at)
            view["found"] = f"Found at byte {found.at}."
            view["next"] = found.at + 1
            return {**view, "part": part_from(read, extent, start, find)}
        if found.searched_to < extent.total:
            view["found"] = f"Not found between byte {after} and byte {found.searched_to}."
            view["next"] = found.searched_to
        else:
            view["found"] = "Not found." if not after else f"Not found after byte {after}."
        return {**view, "part": part_before(read, extent, extent.total)}


def job_path(submission_id: str) -> str:
    """Returns the path of a job's page; an id may have any characters."""
    return f"/jobs/{quote(submission_id, safe='', errors='replace')}"


def show_size(size: float) -> str:
    """Returns a number of bytes for people, such as `1.5 MiB`."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{int(size)} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def _row(entry: Entry, now: float) -> dict[str, Any]:
    found = reason(entry)
    return {
        "job": entry,
        "name": job_name(entry),
        "entrypoint": cell(str(entry.spec.get("entrypoint", ""))),
        "reason": " ".join(found.text.split())[:300] if found else "",
        "submitted": begin(entry),
        "seconds": total_seconds(entry, now),
    }


def _counts(counts: Mapping[str, int]) -> dict[str, int]:
    return {status: counts[status] for status in STATUSES if counts.get(status)}


def _spec_rows(entry: Entry) -> list[tuple[str, str]]:
    """The fields of the spec beside entrypoint and metadata, as text."""
    rows = []
    for key, value in entry.spec.items():
        if key in ("entrypoint", "metadata") or value in (None, {}, ""):
            continue
        text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
        rows.append((key.replace("_", " "), shown(text, lines=True)))
    return rows


def _moment(at: float) -> datetime:
    try:
        return datetime.fromtimestamp(at, timezone.utc)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, timezone.utc)


def _iso(at: float) -> str:
    return _moment(at).strftime("%Y-%m-%dT%H:%M:%SZ")


def _utc(at: float) -> str:
    return _moment(at).strftime("%Y-%m-%d %H:%M:%S UTC")
