"""A stand-in for a Ray head with its dashboard and one agent: its jobs, its logs and its faults are set by a test.

What real Ray answers is tested with a real one, in tests/jobs. This one can do on purpose what a real one does rarely.
"""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.http_server import JsonHandler, running

START = 1_700_000_000_000


@dataclass
class FakeRay:
    """The state of the head. A test changes it while the server runs.

    Attributes:
        jobs: The records of jobs by their id, as the Jobs API has them.
        logs: The logs by id: bytes, or a function that returns them as they are now.
        session: The session of the head.
        token: What requests need; None: nothing.
        fails_with: The HTTP status of every answer; 0: it does not answer as long as this is so; None: it works.
        logs_fail: Requests for logs are answered with 503.
        has_agent: Logs can be read from the agent of the node.
        node_state: The state of the only node.
        node_id: The id of that node.
        requests: The number of requests by path, without ids.
        on_log: Called with the Range of each request for a log from the agent.
        on_log_of: Called with the id of each such request.
        on_half: Called when half of the answer was sent.
    """

    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    logs: dict[str, bytes | Callable[[], bytes]] = field(default_factory=dict)
    session: str = "session_1"
    token: str | None = None
    fails_with: int | None = None
    logs_fail: bool = False
    has_agent: bool = True
    node_state: str = "ALIVE"
    node_id: str = "node-1"
    requests: Counter[str] = field(default_factory=Counter)
    url: str = ""
    on_log: Callable[[str], object] = lambda _range: None
    on_log_of: Callable[[str], object] = lambda _id: None
    on_half: Callable[[], object] = lambda: None
    ends: threading.Event = field(default_factory=threading.Event)

    def add(self, submission_id: str, status: str = "RUNNING", log: bytes | None = None, **fields: Any) -> None:
        """Adds a job, or another one with the same id. A job that waits has no node."""
        record = {
            "submission_id": submission_id,
            "type": "SUBMISSION",
            "status": status,
            "entrypoint": "python train.py",
            "message": f"Job is {status}.",
            "start_time": START + len(self.jobs),
            "metadata": {},
            "runtime_env": {},
        }
        self.jobs[submission_id] = {**record, **(self._node() if status != "PENDING" else {}), **fields}
        if log is not None:
            self.logs[submission_id] = log
        if status not in ("PENDING", "RUNNING"):
            self.end(submission_id, status)

    def _node(self) -> dict[str, Any]:
        return {"driver_node_id": self.node_id, "driver_agent_http_address": self.url if self.has_agent else None}

    def run(self, submission_id: str) -> None:
        """A job that waited runs now."""
        self.jobs[submission_id] |= {"status": "RUNNING", "message": "Job is RUNNING.", **self._node()}

    def write(self, submission_id: str, data: bytes) -> None:
        """A job writes into its log."""
        log = self.logs.get(submission_id, b"")
        assert isinstance(log, bytes)
        self.logs[submission_id] = log + data

    def end(self, submission_id: str, status: str = "SUCCEEDED", **fields: Any) -> None:
        """A job ends."""
        end = self.jobs[submission_id]["start_time"] + 60_000
        code = {"SUCCEEDED": 0, "FAILED": 1}.get(status)
        self.jobs[submission_id] |= {"status": status, "end_time": end, "driver_exit_code": code, **fields}

    def replace_head(self) -> None:
        """Another head answers, which knows nothing."""
        self.session = f"session_{int(self.session.partition('_')[2]) + 1}"
        self.jobs.clear()
        self.logs.clear()

    def log(self, submission_id: str) -> bytes | None:
        log = self.logs.get(submission_id)
        return log() if callable(log) else log


@contextmanager
def fake_ray(**fields: Any) -> Iterator[FakeRay]:
    """Serves a head on a free port of this machine."""
    ray = FakeRay(**fields)

    class Handler(_Handler):
        head = ray

    with running(_Server(("127.0.0.1", 0), Handler)) as server:
        ray.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield ray
        finally:
            ray.ends.set()


class _Server(ThreadingHTTPServer):
    # The keeper opens some tens of connections at once.
    request_queue_size = 128
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_arguments: Any) -> None:
        """A client that goes away is nothing to report."""


class _Handler(JsonHandler):
    head: FakeRay
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        head, parts = self.head, urlsplit(self.path)
        path = unquote(parts.path)
        name = re.sub(r"^(/api/jobs/|/logs/).+", r"\1ID", path)
        head.requests[name] += 1
        if head.fails_with == 0:
            while head.fails_with == 0 and not head.ends.is_set():
                time.sleep(0.05)
            self.close_connection = True
            return
        if head.fails_with is not None:
            self.answer({}, head.fails_with)
            return
        if head.logs_fail and "/logs/" in path:
            self.answer({}, 503)
            return
        if head.token is not None and self.headers.get("Authorization") != f"Bearer {head.token}":
            self._text("Unauthorized: Missing authentication token", 401)
            return
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if path == "/api/version":
            self.answer({"version": "4", "ray_version": "2.60.0", "ray_commit": "", "session_name": head.session})
        elif path == "/api/jobs/":
            self.answer(list(head.jobs.values()))
        elif path.startswith("/api/jobs/"):
            job = head.jobs.get(path.removeprefix("/api/jobs/"))
            self.answer(job) if job else self._text("Job does not exist", 404)
        elif path.startswith("/logs/"):
            submission_id = path.removeprefix("/logs/job-driver-").removesuffix(".log")
            head.on_log(self.headers.get("Range", ""))
            head.on_log_of(submission_id)
            self._file(head.log(submission_id))
        elif path == "/api/v0/logs/file":
            self._chunked(query["submission_id"], live=False)
        elif path == "/api/v0/logs/stream":
            self._chunked(query["submission_id"], live=True)
        elif path == "/api/cluster_status":
            self.answer({"data": {}})
        elif path == "/api/v0/nodes":
            self._objects(
                [{"node_id": head.node_id, "state": head.node_state, "is_head_node": True, "start_time_ms": 1}]
            )
        else:
            self._objects([])

    do_POST = do_GET

    def _objects(self, objects: list[dict[str, Any]]) -> None:
        self.answer({"result": True, "data": {"result": {"result": objects}}})

    def _text(self, text: str, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def _file(self, log: bytes | None) -> None:
        """A file with Range, as aiohttp serves it."""
        if log is None:
            self._text("404: Not Found", 404)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-"))[1])  # type: ignore[index]
        if start >= len(log):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(log)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{len(log) - 1}/{len(log)}")
        self.send_header("Content-Length", str(len(log) - start))
        self.end_headers()
        half = (start + len(log)) // 2
        self.wfile.write(memoryview(log)[start:half])
        self.head.on_half()
        self.wfile.write(memoryview(log)[half:])

    def _chunked(self, submission_id: str, *, live: bool) -> None:
        """The log API: from the first byte on; live as long as the server runs."""
        if self.head.log(submission_id) is None:
            self._text("Job log not found", 500)
            return
        self.send_response(200)
        self.send_header("Content-Disposition", 'attachment; filename="log"')
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        sent = 0
        while True:
            data = (self.head.log(submission_id) or b"")[sent:]
            if data:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                sent += len(data)
            if not live or self.head.ends.is_set() or self.head.fails_with is not None:
                break
            time.sleep(0.05)
        self.wfile.write(b"0\r\n\r\n")
