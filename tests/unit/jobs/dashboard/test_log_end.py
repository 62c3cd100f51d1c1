"""The end of a log: its last lines and its lines since a time, from each source of a log."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from jobs.connection import Connection
from jobs.dashboard import log_end
from jobs.dashboard.client import RayJobsApi
from jobs.dashboard.http import HttpClient
from jobs.dashboard.log_end import LastLines, LinesSince, time_of_line
from jobs.session import Session
from jobs.target.resolve import LocalTarget
from tests.support.command import Cli
from tests.support.http_server import JsonHandler, serve

LINES = [f"line {number}\n".encode() for number in range(1000)]
AT = datetime(2026, 11, 26, 14, tzinfo=timezone.utc).timestamp()
STAMPED = (
    b"2026-11-26 13:00:00,000 INFO job_manager.py:581 -- Runtime env is setting up.\n"
    b"epoch 1\n\x1b[36m(train pid=7)\x1b[0m 2026-11-26 13:59:59,9 old\nof the old\n"
    b"[2026-11-26 14:00:01,000 W] new\nof the new\n2026-11-26 13:00:00 late\n"
)


@contextmanager
def ray(log: bytes, *, ranges: bool = True, requests: list[str] | None = None) -> Iterator[str]:
    """A dashboard and an agent in one: the agent answers to a suffix range, unless a proxy drops it."""

    class Ray(JsonHandler):
        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            if requests is not None:
                requests.append(f"{path} {self.headers.get('Range', '')}".strip())
            if path.startswith("/api/jobs/"):
                host = self.headers["Host"]
                job = {"submission_id": "a", "status": "SUCCEEDED", "type": "SUBMISSION", "driver_node_id": "n"}
                self.answer({**job, "driver_agent_http_address": f"http://{host}"})
            elif path.startswith("/logs/"):
                self._answer_part()
            elif path == "/api/v0/logs/file":
                lines = int(parse_qs(urlsplit(self.path).query)["lines"][0])
                self._send(200, log if lines < 0 else b"".join(log.splitlines(True)[-lines:]))
            else:
                self.answer({"data": {"result": {"result": []}}})

        def _answer_part(self) -> None:
            match = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
            if not ranges or match is None:
                self._send(200, log)
                return
            begin = int(match[1]) if match[1] else max(0, len(log) - int(match[2]))
            if begin >= len(log):
                self._send(416, b"")
            else:
                self._send(206, log[begin:], {"Content-Range": f"bytes {begin}-{len(log) - 1}/{len(log)}"})

        def _send(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

    with serve(Ray) as url:
        yield url


def end_of(url: str, *, agent: bool = True, **options: Any) -> tuple[bytes, int, list[str]]:
    notes: list[str] = []
    printed = bytearray()

    async def main() -> int:
        http = HttpClient(url)

        async def route(address: str) -> HttpClient | None:
            return HttpClient(address) if agent else None

        session = Session(
            Connection(RayJobsApi(http, agent_route=route), LocalTarget({}), url, url), notify=notes.append
        )
        try:
            return await session.print_log_end("a", printed.extend, **options)
        finally:
            await http.close()

    offset = asyncio.run(main())
    return bytes(printed), offset, notes


@pytest.mark.parametrize(("agent", "ranges"), [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("lines", [0, 1, 20, 2000])
def test_the_last_lines_come_from_every_source_with_the_offset_at_which_the_log_continues(
    agent: bool, ranges: bool, lines: int
) -> None:
    log = b"".join(LINES) + b"unfinished"
    with ray(log, ranges=ranges) as url:
        printed, offset, _ = end_of(url, agent=agent, lines=lines)
    expected = [*LINES, b"unfinished"]
    assert printed == b"".join(expected[-lines:] if lines else [])
    assert offset == len(log)


def test_an_agent_is_asked_for_the_end_of_the_file_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_end, "FIRST_BYTES", 100)
    requests: list[str] = []
    with ray(b"".join(LINES), requests=requests) as url:
        assert end_of(url, lines=50)[0] == b"".join(LINES[-50:])
    assert [each for each in requests if each.startswith("/logs/")] == [
        "/logs/job-driver-a.log bytes=-100",
        "/logs/job-driver-a.log bytes=-1600",
    ]


def test_an_empty_log_has_no_last_lines() -> None:
    with ray(b"") as url:
        assert end_of(url, lines=5)[:2] == (b"", 0)


def test_lines_since_a_time_begin_at_the_first_that_is_not_older_and_end_with_the_log() -> None:
    with ray(STAMPED) as url:
        printed, offset, notes = end_of(url, since=AT)
        assert printed == STAMPED[STAMPED.index(b"[2026-11-26 14:00:01") :]
        assert (offset, notes) == (len(STAMPED), [])
        assert end_of(url, since=AT, lines=1)[0] == b"2026-11-26 13:00:00 late\n"


def test_a_log_without_a_line_since_then_says_so_and_keeps_the_unfinished_line_for_a_follower() -> None:
    log = STAMPED[: STAMPED.index(b"[2026")] + b"2026-11-26 14:0"
    with ray(log) as url:
        printed, offset, notes = end_of(url, since=AT)
    assert (printed, offset) == (b"", len(log) - len(b"2026-11-26 14:0"))
    assert notes == ["No line of the log has a time since then. A line without a time belongs to the line above it."]


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_the_pieces_in_which_a_log_arrives_make_no_difference(size: int) -> None:
    last, since = LastLines(3), LinesSince(AT)
    kept = b""
    for at in range(0, len(STAMPED), size):
        last.add(STAMPED[at : at + size])
        kept += since.add(STAMPED[at : at + size])
    assert last.data == b"".join(STAMPED.splitlines(True)[-3:])
    assert kept == STAMPED[STAMPED.index(b"[2026-11-26 14:00:01") :]


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        (b"2026-11-26 14:00:00,123 INFO x", 0),
        (b"2026-11-26T14:00:00Z x", 0),
        (b"2026-11-26T15:00:00+0100 x", 0),
        (b"(f pid=1, ip=10.0.0.1) [2026-11-26 14:00:01,5 E 1 1] x", 1),
        (b"epoch 1 2026-11-26 14:00:00", None),
        (b"2026-99-99 14:00:00", None),
    ],
)
def test_the_time_of_a_line_is_read_and_without_a_zone_it_is_that_of_the_pods(line: bytes, seconds: int | None) -> None:
    assert time_of_line(line) == (None if seconds is None else AT + seconds)


@pytest.mark.parametrize(
    ("lines", "since", "expected"),
    [(2, None, b"of the new\n2026-11-26 13:00:00 late\n"), (1, AT, b"2026-11-26 13:00:00 late\n"), (5, AT + 9, b"")],
)
def test_the_log_of_the_ledger_has_the_same_end(lines: int, since: float | None, expected: bytes) -> None:
    assert log_end.end_of(STAMPED, lines=lines, since=since) == expected
    assert log_end.end_of(STAMPED, lines=None, since=None) == STAMPED


def test_memory_does_not_grow_with_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_end, "MOST_BYTES", 1000)
    last = LastLines(5)
    for _ in range(100):
        last.add(b"x" * 500)
    assert len(last.data) == 1000
    assert last.is_full
    since = LinesSince(AT)
    for _ in range(3):
        assert since.add(b"x" * log_end.END_BYTES) == b""
    assert len(since.held) < log_end.END_BYTES + 20
    assert since.add(b"\n2026-11-26 15:00:00\n") == b"2026-11-26 15:00:00\n"


def test_save_writes_the_bytes_to_the_file_and_nothing_to_stdout(bare_cli: Cli) -> None:
    with ray(b"\xff\r\n" + STAMPED) as url:
        done = bare_cli("logs", "a", "--save", "job.log", address=url)
        assert (done.returncode, done.stdout) == (0, b"")
        assert (bare_cli.cwd / "job.log").read_bytes() == b"\xff\r\n" + STAMPED
        assert f"Saved {len(STAMPED) + 3} bytes to job.log.".encode() in done.stderr
        followed = bare_cli("logs", "a", "--follow", "--tail", "1", "--save", "job.log", address=url)
        assert (bare_cli.cwd / "job.log").read_bytes() == b"2026-11-26 13:00:00 late\n"
        assert followed.returncode == 0


def test_a_file_stays_as_it_is_if_the_server_has_no_such_job(bare_cli: Cli) -> None:
    class Dashboard(JsonHandler):
        def do_GET(self) -> None:
            self.answer("Job a does not exist", 404)

    (bare_cli.cwd / "job.log").write_text("before")
    with serve(Dashboard) as url:
        assert bare_cli("logs", "a", "--save", "job.log", address=url).returncode == 2
    assert (bare_cli.cwd / "job.log").read_text() == "before"


@pytest.mark.parametrize("file", ["/nowhere/job.log", "."])
def test_a_file_that_cannot_be_written_is_named(file: str, bare_cli: Cli) -> None:
    with ray(STAMPED) as url:
        done = bare_cli("logs", "a", "--save", file, address=url)
    assert done.returncode == 2
    assert f"Could not write {file}".encode() in done.stderr


def test_an_offset_and_a_tail_contradict_each_other(bare_cli: Cli) -> None:
    done = bare_cli("logs", "a", "--offset", "1", "--tail", "1")
    assert done.returncode == 2
    assert b"--offset cannot be used with --tail or --since" in done.stderr
