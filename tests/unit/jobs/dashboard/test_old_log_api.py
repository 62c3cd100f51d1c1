"""The log API of old versions of Ray, which puts marks into the log."""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qs, urlsplit

import pytest

from jobs.connection import Connection
from jobs.dashboard.client import RayJobsApi
from jobs.dashboard.http import HttpClient
from jobs.dashboard.log_end import read_log_end
from jobs.session import Session
from jobs.spec.job_info import JobInfo
from jobs.target.resolve import LocalTarget
from tests.support.http_server import JsonHandler, serve

JOB = {"submission_id": "a", "status": "SUCCEEDED", "type": "SUBMISSION", "driver_node_id": "n"}
PIECES = ["1 of 2\n", "0 left\n"]


def dashboard(version: str) -> type[JsonHandler]:
    """The dashboard of a version of Ray without an agent. Each piece of a log is an HTTP chunk."""

    class Dashboard(JsonHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if url.path == "/api/version":
                self.answer({"ray_version": version})
            elif url.path == "/api/jobs/a":
                self.answer(JOB)
            elif url.path == "/api/jobs/a/logs":
                self.answer({"logs": "".join(PIECES)})
            else:
                without = version >= "2.34" and parse_qs(url.query).get("format") == ["text"]
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for piece in ("" if without else "1") + PIECES[0], ("" if without else "1") + PIECES[1]:
                    self.wfile.write(f"{len(piece):x}\r\n{piece}\r\n".encode())
                self.wfile.write(b"0\r\n\r\n")

    return Dashboard


@pytest.mark.parametrize(("version", "notes"), [("2.33.0", 1), ("2.34.0", 0), ("2.44.1", 0)])
def test_the_marks_of_an_old_log_api_are_not_in_the_log(version: str, notes: int) -> None:
    async def read(url: str) -> tuple[bytes, bytes, list[str]]:
        http, printed, said = HttpClient(url), bytearray(), list[str]()
        client = RayJobsApi(http)
        try:
            session = Session(Connection(client, LocalTarget({}), url, url), notify=said.append)
            await session.print_log_end("a", printed.extend, lines=10)
            return bytes(printed), await read_log_end(client, JobInfo("a", "SUCCEEDED", driver_node_id="n")), said
        finally:
            await http.close()

    with serve(dashboard(version)) as url:
        printed, end, said = asyncio.run(read(url))
    log = "".join(PIECES).encode()
    assert printed == log
    # The end of a log, for the cause of a failure, is not worth a second source: Ray's message has the last lines.
    assert end == (b"" if notes else log)
    assert sum("not kept" in text for text in said) == notes
