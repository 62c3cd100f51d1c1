"""What the follower of a log tells about the job while it waits."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from jobs.activity import Activity, listening
from jobs.dashboard.client import RayJobsApi
from jobs.dashboard.http import HttpClient
from jobs.dashboard.logs import LogFollower
from jobs.dashboard.waiting import JobWatcher
from jobs.spec.time_limits import TimeLimits
from tests.support.proxy import Faults, Proxy, answer

BUSY = answer(503, "busy", "text/plain")


class Record:
    """The texts of the follower's activity, one after the other, and its last detail of each."""

    def __init__(self) -> None:
        self.reading: Activity | None = None

    def started(self, activity: Activity) -> None:
        if activity.text.startswith("Reading the log"):
            self.reading = activity

    def ended(self, activity: Activity) -> None:
        pass


def test_it_tells_the_state_the_limit_and_that_the_log_cannot_be_read() -> None:
    began, record = time.monotonic(), Record()
    states: list[tuple[str, str, bool]] = []

    def body(line: str) -> bytes:
        seconds = time.monotonic() - began
        if "/api/v0/logs/" in line:
            return BUSY if seconds < 4 else answer(200, "the log", "text/plain")
        status = "PENDING" if seconds < 1.5 else "RUNNING" if seconds < 3 else "SUCCEEDED"
        job: dict[str, Any] = {"submission_id": "j", "status": status, "type": "SUBMISSION"}
        return answer(200, json.dumps(job if status == "PENDING" else {**job, "driver_node_id": "n"}))

    async def follow(url: str) -> bytes:
        http = HttpClient(url)
        watcher = JobWatcher(RayJobsApi(http))
        follower = LogFollower(
            watcher, "j", limits=TimeLimits(queue=100), describe=lambda job: "no worker" * (job.status == "PENDING")
        )

        async def observe() -> None:
            while True:
                if record.reading is not None:
                    limited = record.reading.until is not None and record.reading.until.left < 101
                    states.append((record.reading.text, record.reading.detail, limited))
                await asyncio.sleep(0.05)

        observing = asyncio.ensure_future(observe())
        try:
            return b"".join([piece async for piece in follower.chunks()])
        finally:
            observing.cancel()
            await http.close()

    with Proxy("127.0.0.1", 9) as server, listening(record):
        server.faults = Faults(instead=body)
        assert asyncio.run(follow(server.url)) == b"the log"
    assert ("Job j is PENDING", "no worker", True) in states
    unreadable = [detail for text, detail, limited in states if text == "Job j is RUNNING" and not limited and detail]
    assert unreadable
    assert all(detail.startswith("its log cannot be read: ") for detail in unreadable)
    assert states[-1][0] == "Reading the rest of the log of job j"
