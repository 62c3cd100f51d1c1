"""Jobs whose driver died with its node or with the old head, which Ray notices late or never.

A head that restarts with its state (GCS fault tolerance) reports RUNNING for every job that ran and PENDING for every
job that waited. Ray's job manager checks whether their drivers are alive, but it starts only with the first request
that needs it, such as a submission. Until then, a job whose driver died with the old head would be RUNNING for ever. A
job that waited can never start, because the actor that would start it was in the memory of the old head.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from ..activity import activity
from ..deadline import Deadline
from ..errors import JobsError
from ..spec.job_info import JobInfo
from .http import HttpClient
from .state_api import query_state

# Each node is asked about at most this often.
CHECK_SECONDS = 15.0
# Seconds from the start of Ray's check until the record of the job has the result.
SETTLE_SECONDS = 4.0
CHECK_REQUEST_SECONDS = 20.0
CHECKING = "Waiting for Ray to check jobs whose driver may be dead"
HEAD = "the head"
# Clock tolerance: a job is older than the head only if it started more than this before it.
CLOCK_TOLERANCE_MS = 1000


class OrphanCheck:
    """Asks about the nodes of running jobs' drivers, and about the head: each at most every 15 seconds."""

    def __init__(self, http: HttpClient) -> None:
        self.http = http
        self._next_check: dict[str, float] = {}

    async def wake_job_manager_if_orphaned(self, job: JobInfo, *, at_once: bool = False) -> bool:
        """Makes Ray check the job if its driver's node is dead, or its head was replaced. Raises nothing.

        The result is Ray's: a job that ran is FAILED moments later; a job that waited is FAILED after the 15 minutes
        that Ray lets it wait.

        Args:
            job: Its last record.
            at_once: Ask about the node now if it was not asked about before; otherwise after 15 seconds.

        Returns:
            Whether Ray was made to check.
        """
        node = job.driver_node_id if job.status == "RUNNING" else HEAD if job.status == "PENDING" else None
        now = time.monotonic()
        if node is None or now < self._next_check.setdefault(node, now if at_once else now + CHECK_SECONDS):
            return False
        self._next_check[node] = now + CHECK_SECONDS
        if node == HEAD:
            orphaned = is_older_than_head(job, await self._query_nodes(state="ALIVE"))
        else:
            orphaned = await self.is_dead(node)
        if not orphaned:
            return False
        # There is nothing to stop: the request only starts the job manager.
        path = f"/api/jobs/{quote(job.submission_id, safe='')}/stop"
        with activity(CHECKING, Deadline(CHECK_REQUEST_SECONDS)):
            try:
                return (await self.http.once("POST", path, seconds=CHECK_REQUEST_SECONDS)).is_success
            except JobsError:
                return False  # The next check tries again.

    async def wake_job_manager_if_any_orphaned(self, jobs: Iterable[JobInfo]) -> bool:
        """Makes Ray check every job whose node is not alive. It is one request if all nodes are."""
        active = [job for job in jobs if job.status in ("RUNNING", "PENDING")]
        if not active:
            return False
        alive = {node.get("node_id") for node in await self._query_nodes(state="ALIVE")}
        if not alive:
            return False  # No answer: the head itself would be alive.
        suspects = [job for job in active if job.status == "PENDING" or job.driver_node_id not in alive]
        # Waiting jobs share one check per 15 s. The oldest goes first: it most likely predates the head.
        suspects.sort(key=lambda job: job.start_time or 0)
        return any([await self.wake_job_manager_if_orphaned(job, at_once=True) for job in suspects])

    async def is_dead(self, node: str | None) -> bool:
        """Asks Ray whether the node is dead; False without an answer. Raises nothing."""
        if node is None:
            return False
        return [each.get("state") for each in await self._query_nodes(node_id=node)] == ["DEAD"]

    async def _query_nodes(self, **filters: str) -> list[dict[str, Any]]:
        try:
            nodes = await query_state(self.http, "nodes", filters)
        except JobsError:
            return []
        return [node for node in nodes if isinstance(node, dict)]


def is_older_than_head(job: JobInfo, nodes: Iterable[Mapping[str, Any]]) -> bool:
    """Returns whether the job was submitted before the start of the running head; False if that is not known.

    `nodes`: as Ray's state API has them, with details.
    """
    starts = [node.get("start_time_ms") for node in nodes if node.get("is_head_node") and node.get("state") == "ALIVE"]
    if len(starts) != 1 or not starts[0] or not job.start_time:
        return False
    return job.start_time + CLOCK_TOLERANCE_MS < int(starts[0])
