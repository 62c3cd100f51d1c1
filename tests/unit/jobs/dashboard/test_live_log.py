"""The log of a running job arrives as it is written."""

from __future__ import annotations

import asyncio
import threading

from jobs.dashboard.client import RayJobsApi
from jobs.dashboard.http import HttpClient
from jobs.dashboard.logs import read_live_log
from jobs.spec.job_info import JobInfo
from tests.support.http_server import JsonHandler, serve


def test_a_small_piece_arrives_before_the_next_one_is_written() -> None:
    received = threading.Event()

    class Log(JsonHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Disposition", 'attachment; filename="file.txt"')
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"6\r\nfirst\n\r\n")
            if received.wait(20):
                self.wfile.write(b"7\r\nsecond\n\r\n0\r\n\r\n")

    async def has_ended() -> bool:
        return False

    async def read(url: str) -> list[bytes]:
        pieces = []
        http = HttpClient(url)
        try:
            job = JobInfo(submission_id="job", status="RUNNING", driver_node_id="node")
            async for piece in read_live_log(RayJobsApi(http), job, 0, has_ended):
                pieces.append(piece)
                received.set()
        finally:
            await http.close()
        return pieces

    with serve(Log) as url:
        assert asyncio.run(asyncio.wait_for(read(url), 10)) == [b"first\n", b"second\n"]
