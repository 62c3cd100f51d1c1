"""Jobs that went with a node or with the old head, which Ray itself may notice late or never.

A head that comes back with its state (GCS fault tolerance) says RUNNING of every job that ran and PENDING of every job
that waited. What looks whether the drivers are still there is Ray's job manager, which begins with the first request
that needs it, such as a submission. Until then a job whose driver died with the old head would be RUNNING for ever; and
one that waited can never start, since what was to start it was in the old head's memory.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from ..errors import JobsError
from ..spec.job_info import JobInfo
from .http import Http, json_of

EVERY_SECONDS = 15.0
HEAD = "the head"
# A job of the head that is there now was submitted after the head's start, by the head's own clock.
CLOCK_MS = 1000


class Orphans:
    """Asks about the nodes that running jobs have their drivers on, and about the head: each every 15 s at most."""

    def __init__(self, http: Http) -> None:
        self.http = http
        self._next: dict[str, float] = {}

    async def wake(self, info: JobInfo, *, at_once: bool = False) -> bool:
        """Has Ray look after the job if nothing else does; says whether it did. Raises nothing.

        What is found stays Ray's to say: the record of a job that ran is FAILED moments later, and that of one that
        waited once it has waited as long as Ray lets it (15 minutes).
        """
        node = info.driver_node_id if info.status == "RUNNING" else HEAD if info.status == "PENDING" else None
        now = time.monotonic()
        if node is None or now < self._next.setdefault(node, now if at_once else now + EVERY_SECONDS):
            return False
        self._next[node] = now + EVERY_SECONDS
        if node == HEAD:
            orphaned = older_than_the_head(info, await self._nodes(state="ALIVE"))
        else:
            orphaned = await self.is_dead(node)
        if not orphaned:
            return False
        # There is nothing to stop: the request only starts the job manager.
        path = f"/api/jobs/{quote(info.submission_id, safe='')}/stop"
        try:
            return (await self.http.once("POST", path, seconds=20.0)).is_success
        except JobsError:
            return False  # The next look tries again.

    async def wake_many(self, jobs: Iterable[JobInfo]) -> bool:
        """`wake` for those of many whose node is not among the living: one question if all is well."""
        waiting = [job for job in jobs if job.status in ("RUNNING", "PENDING")]
        if not waiting:
            return False
        alive = {node.get("node_id") for node in await self._nodes(state="ALIVE")}
        if not alive:
            return False  # No answer: the head itself would be there.
        doubtful = [job for job in waiting if job.status == "PENDING" or job.driver_node_id not in alive]
        doubtful.sort(key=lambda job: job.start_time or 0)  # Of those that wait the oldest is asked about.
        return any([await self.wake(job, at_once=True) for job in doubtful])

    async def is_dead(self, node: str | None) -> bool:
        """Whether Ray says so; False where it says nothing. Raises nothing."""
        if node is None:
            return False
        return [each.get("state") for each in await self._nodes(node_id=node)] == ["DEAD"]

    async def _nodes(self, **equal: str) -> list[dict[str, Any]]:
        """Nodes by the state API; none in any other answer. Raises nothing."""
        query = [("detail", "true")]
        for key, value in equal.items():
            query += [("filter_keys", key), ("filter_predicates", "="), ("filter_values", value)]
        try:
            response = await self.http.once("GET", f"/api/v0/nodes?{urlencode(query)}", seconds=20.0)
            found = json_of(response, self.http.where)["data"]["result"]["result"] if response.is_success else []
            return [node for node in found if isinstance(node, dict)]
        except (JobsError, KeyError, TypeError):
            return []


def older_than_the_head(info: JobInfo, nodes: Iterable[Mapping[str, Any]]) -> bool:
    """Whether the job was submitted before the head that is there now began; False where that cannot be known.

    `nodes`: as Ray's state API has them, with details.
    """
    began = [node.get("start_time_ms") for node in nodes if node.get("is_head_node") and node.get("state") == "ALIVE"]
    if len(began) != 1 or not began[0] or not info.start_time:
        return False
    return info.start_time + CLOCK_MS < int(began[0])
