"""The end of a log: its last lines, or its lines since a time.

Ray keeps a log as a file without times. So `since` goes by the times that the lines have themselves, as Ray's own and
those of `logging` do. A line without a time belongs to the line above.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import aclosing
from datetime import datetime
from urllib.parse import quote, urlencode

from ..errors import JobsError
from ..spec.job_info import JobInfo
from .client import RayJobsApi, not_submitted
from .http import MOST_ERROR_BYTES, HttpClient, read_answer
from .http_errors import error_of_response
from .logs import LogFollower, LogGone, NoLogBytes, check_log_response, log_name, log_query

# Of the log of a failed job: enough for a traceback of Ray with its list of processes.
END_LINES = 500
END_BYTES = 256 * 1024
# The most that is kept of the last lines, whose length is not known.
MOST_BYTES = 64 * 1024**2
# How much of the file is asked for at first, and how much more if that has too few lines.
FIRST_BYTES, GROWTH = 256 * 1024, 16
# A time stands at the beginning of a line.
TIME_BYTES = 400
_COLOUR = re.compile(rb"\x1b\[[0-9;]*[A-Za-z]")
# After the name of a worker, such as `(train pid=7) `. A time without a zone is UTC, as in the pods.
_TIME = re.compile(
    rb"(?:\([^)\n]{1,200}\) )?\[?(?P<time>\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)(?:[.,]\d+)? ?(?P<zone>Z|[+-]\d\d:?\d\d)?"
)


async def print_end(
    follower: LogFollower, write: Callable[[bytes], None], *, lines: int | None, since: float | None
) -> int:
    """Gives `write` the end of the log as it is now. See `jobs.session.Session.print_log_end`."""
    if lines is not None and since is None:
        end = await _last_lines(follower, lines)
        if end is not None:
            write(end[0])
            return end[1]
    last = LastLines(lines) if lines is not None else None
    later = LinesSince(since) if since is not None else None
    async with aclosing(follower.chunks()) as chunks:
        async for chunk in chunks:
            piece = later.add(chunk) if later else chunk
            if last is not None:
                last.add(piece)
            elif piece:
                write(piece)
    if last is not None:
        write(last.data)
    if later and not later.began and follower.offset:
        follower.notify("No line of the log has a time since then. A line without a time belongs to the line above it.")
    return follower.offset - (len(later.held) if later else 0)


async def _last_lines(follower: LogFollower, lines: int) -> tuple[bytes, int] | None:
    """Reads only the end of the file; None if no agent gives it."""
    client = follower.watcher.client
    job = await follower.watcher.get_job(follower.submission_id)
    if job.is_driver:
        raise not_submitted(job)
    try:
        agent = await client.agent(job.driver_agent_http_address) if job.driver_agent_http_address else None
        return None if agent is None else await read_last_lines(agent, job.submission_id, lines)
    except JobsError:
        return None  # The follower has other sources, and patience.


async def read_log_end(client: RayJobsApi, job: JobInfo) -> bytes:
    """Reads the last END_LINES lines of the log as it is now; empty if there is none, or none that this Ray can give.

    Raises:
        Unreachable, NotAllowed
    """
    if job.driver_node_id is None:
        return b""
    query = log_query(job) | {"timeout": "20", "lines": str(END_LINES)}
    end = bytearray()
    try:
        async with client.http.stream(f"/api/v0/logs/file?{urlencode(query)}") as response:
            await check_log_response(response, client, job)
            async for piece in response.aiter_raw():
                end += piece
                del end[:-END_BYTES]
    except (LogGone, NoLogBytes):
        pass
    return bytes(end)


async def read_last_lines(agent: HttpClient, submission_id: str, lines: int) -> tuple[bytes, int] | None:
    """Reads the last lines from the agent of the driver's node, without the rest of the file.

    Returns:
        The lines, and the size of the file. None if the agent, or a proxy, does not answer with a part of the file.

    Raises:
        Unreachable, NotAllowed
    """
    size = FIRST_BYTES
    while True:
        path, headers = f"/logs/{quote(log_name(submission_id))}", {"Range": f"bytes=-{size}"}
        async with agent.stream(path, headers=headers) as response:
            if response.status_code in (200, 416):
                return None  # The whole file, or an empty one.
            if response.status_code != 206:
                raise error_of_response(await read_answer(response, agent.where, MOST_ERROR_BYTES), agent.where)
            place = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", response.headers.get("content-range", ""))
            if place is None:
                return None
            last = LastLines(lines)
            async for piece in response.aiter_raw():
                last.add(piece)
        begin, end = int(place[1]), int(place[2]) + 1
        if begin == 0 or last.is_full or size >= MOST_BYTES:
            return last.data, end
        size *= GROWTH


def end_of(log: bytes, *, lines: int | None, since: float | None) -> bytes:
    """Returns the end of a log that is there as a whole. See `jobs.session.Session.print_log_end`."""
    if since is not None:
        log = LinesSince(since).add(log)
    if lines is not None:
        last = LastLines(lines)
        last.add(log)
        log = last.data
    return log


class LastLines:
    """Keeps the last lines of what it gets. An unfinished line counts as one."""

    def __init__(self, lines: int) -> None:
        self.lines = lines
        self._data = bytearray()
        self._cut = False

    def add(self, piece: bytes) -> None:
        self._data += piece
        if len(self._data) > MOST_BYTES:
            del self._data[:-MOST_BYTES]
            self._cut = True
        self._cut |= self._begin() > 0
        del self._data[: self._begin()]

    def _begin(self) -> int:
        """Returns where the last lines begin."""
        at = len(self._data) - 1 if self._data.endswith(b"\n") else len(self._data)
        for _ in range(self.lines):
            at = self._data.rfind(b"\n", 0, at)
            if at < 0:
                return 0
        return at + 1

    @property
    def is_full(self) -> bool:
        """Whether there were more lines, or more bytes than are kept."""
        return self._cut

    @property
    def data(self) -> bytes:
        return bytes(self._data)


class LinesSince:
    """Leaves out the lines before the first one whose time is not before `since`, in seconds since the epoch.

    Attributes:
        began: Whether there was such a line.
        held: The bytes of the unfinished line, of which it is not known yet.
    """

    def __init__(self, since: float) -> None:
        self.since = since
        self.began = False
        self.held = bytearray()
        self._inside = False  # After the beginning of a long line, which was left out.

    def add(self, piece: bytes) -> bytes:
        """Returns what is not left out."""
        if self.began:
            return piece
        self.held += piece
        while (end := self.held.find(b"\n")) >= 0 or len(self.held) > END_BYTES:
            time = None if self._inside else time_of_line(bytes(self.held[:TIME_BYTES]))
            if time is not None and time >= self.since:
                self.began = True
                rest = bytes(self.held)
                self.held.clear()
                return rest
            self._inside = end < 0
            del self.held[: end + 1 if end >= 0 else len(self.held)]
        return b""


def time_of_line(line: bytes) -> float | None:
    """Returns the time at the beginning of a line, in seconds since the epoch; None if it has none."""
    match = _TIME.match(_COLOUR.sub(b"", line[:TIME_BYTES]))
    if match is None:
        return None
    zone = (match["zone"] or b"+00:00").decode().replace("Z", "+00:00")
    zone = zone if ":" in zone else f"{zone[:3]}:{zone[3:]}"
    try:
        return datetime.fromisoformat(match["time"].decode().replace(" ", "T") + zone).timestamp()
    except (ValueError, OverflowError):
        return None
