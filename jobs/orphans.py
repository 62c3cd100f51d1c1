"""Jobs whose driver went with its node, which Ray itself may notice late or never.

A head that comes back with its state (GCS fault tolerance) says RUNNING of every job that ran. What looks whether the
drivers are still there is Ray's job manager, which begins with the first request that needs it, such as a submission.
Until then a job whose driver died with the old head would be RUNNING for ever.
"""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote, urlencode

from jobs.errors import JobsError
from jobs.models import JobInfo
from jobs.transport import Http, json_of

EVERY_SECONDS = 15.0


class Orphans:
    """Asks about the nodes that running jobs have their drivers on, each node at most every 15 seconds."""

    def __init__(self, http: Http) -> None:
        self.http = http
        self._next: dict[str, float] = {}

    async def wake(self, info: JobInfo, *, at_once: bool = False) -> bool:
        """Has Ray look after the job if its driver's node is dead; says whether it did. Raises nothing.

        What is found stays Ray's to say: the job's record is FAILED moments later.
        """
        node, now = info.driver_node_id, time.monotonic()
        if info.status != "RUNNING" or node is None:
            return False
        if now < self._next.setdefault(node, now if at_once else now + EVERY_SECONDS):
            return False
        self._next[node] = now + EVERY_SECONDS
        if not await self.is_dead(node):
            return False
        # With the driver dead there is nothing to stop: the request only starts the job manager.
        path = f"/api/jobs/{quote(info.submission_id, safe='')}/stop"
        try:
            return (await self.http.once("POST", path, seconds=20.0)).is_success
        except JobsError:
            return False  # The next look tries again.

    async def is_dead(self, node: str | None) -> bool:
        """Whether Ray says so; False where it says nothing. Raises nothing."""
        if node is None:
            return False
        query = {"filter_keys": "node_id", "filter_predicates": "=", "filter_values": node}
        try:
            response = await self.http.once("GET", f"/api/v0/nodes?{urlencode(query)}", seconds=20.0)
            return response.is_success and _states(json_of(response, self.http.where)) == ["DEAD"]
        except JobsError:
            return False


def _states(answer: Any) -> list[Any]:
    """The `state` of each node in an answer of the state API; none in any other answer."""
    try:
        return [node["state"] for node in answer["data"]["result"]["result"]]
    except (KeyError, TypeError):
        return []
