"""A running job whose driver's node is dead is given to Ray to look after; any other is left alone."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from jobs.client import Client
from jobs.transport import Http

JOB = "on-the-head"


class Head(ThreadingHTTPServer):
    """As Ray answers after its head came back: the job is RUNNING until something needs the job manager."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.node: Any = "DEAD"
        self.stops = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answers(BaseHTTPRequestHandler):
    server: Head

    def do_GET(self) -> None:
        if self.path.startswith("/api/v0/nodes"):
            nodes = [] if self.server.node is None else [{"node_id": "n1", "state": self.server.node}]
            return self._answer({"result": True, "data": {"result": {"result": nodes}}})
        status = "FAILED" if self.server.stops else "RUNNING"
        return self._answer({"submission_id": JOB, "status": status, "driver_node_id": "n1"})

    def do_POST(self) -> None:
        assert self.path == f"/api/jobs/{JOB}/stop"
        self.server.stops += 1
        self._answer({"stopped": False})

    def _answer(self, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing on stderr."""


@pytest.fixture
def head() -> Iterator[Head]:
    with Head() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def ask(head: Head) -> str:
    async def once() -> str:
        http = Http(head.url)
        try:
            return (await Client(http).get(JOB)).status
        finally:
            await http.close()

    return asyncio.run(once())


def test_a_job_whose_driver_died_with_its_node_is_not_running_for_ever(head: Head) -> None:
    assert ask(head) == "FAILED"
    assert head.stops == 1


@pytest.mark.parametrize("node", ["ALIVE", None])
def test_a_job_whose_node_lives_or_is_not_known_is_never_touched(head: Head, node: str | None) -> None:
    head.node = node
    assert ask(head) == "RUNNING"
    assert head.stops == 0
