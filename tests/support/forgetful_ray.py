"""A stand-in for a Ray head that forgets: its Jobs API and the agent that has its logs, in one HTTP server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.support.http_server import JsonHandler, serve


@dataclass
class ForgetfulRay:
    """What the head knows. It may be changed while the head runs.

    Attributes:
        statuses: The status of each job.
        logs: The log of each job, as the agent has it. Without one, the log is gone with its node.
        requests: The paths that were asked for.
    """

    url: str = ""
    statuses: dict[str, str] = field(default_factory=dict)
    logs: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def job(self, submission_id: str) -> dict[str, Any]:
        """The job as the Jobs API has it."""
        status = self.statuses[submission_id]
        times = {"start_time": 1_700_000_000_000, "end_time": None if status == "RUNNING" else 1_700_000_060_000}
        driver = {"driver_node_id": "node", "driver_agent_http_address": self.url}
        return {
            "submission_id": submission_id,
            "status": status,
            "type": "SUBMISSION",
            "entrypoint": "python train.py",
            **times,
            **driver,
        }


@contextmanager
def forgetful_ray(**statuses: str) -> Iterator[ForgetfulRay]:
    """Serves a head that knows these jobs."""
    ray = ForgetfulRay(statuses=dict(statuses))

    class Handler(JsonHandler):
        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            ray.requests.append(path)
            if path == "/api/version":
                self.answer({"version": "4", "ray_version": "2.60.0", "session_name": "session_1"})
            elif path == "/api/jobs/":
                self.answer([ray.job(each) for each in list(ray.statuses)])
            elif path.startswith("/api/jobs/"):
                self._job(path.removeprefix("/api/jobs/"))
            elif path.startswith("/logs/job-driver-"):
                self._log(path.removeprefix("/logs/job-driver-").removesuffix(".log"))
            elif path.startswith("/api/v0/logs/"):
                self._text(500, "Log file not found on the node")
            else:
                self.answer({"result": True, "data": {"result": {"result": []}}})

        def _job(self, submission_id: str) -> None:
            if submission_id in ray.statuses:
                self.answer(ray.job(submission_id))
            else:
                self._text(404, f"Job {submission_id} does not exist")

        def _log(self, submission_id: str) -> None:
            log = ray.logs.get(submission_id)
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if log is None:
                self._text(404, "not found")
            elif asked is None or int(asked[1]) >= len(log):
                self._text(416, "")
            else:
                self._send(206, log[int(asked[1]) :], {"Content-Range": f"bytes {asked[1]}-{len(log) - 1}/{len(log)}"})

        def _text(self, status: int, text: str) -> None:
            self._send(status, text.encode(), {"Content-Type": "text/plain"})

        def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

    with serve(Handler) as url:
        ray.url = url
        yield ray
