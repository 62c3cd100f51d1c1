"""The live cluster for the page: what `why` reads of it, as the page shows it. It is read only while somebody looks."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from ..connection import Connection
from ..diagnose.evidence import Evidence, gather_from
from ..diagnose.resources import groups_of, resource_list
from ..kubernetes.tunnel import pod_state, running_pods
from ..spec.shown import SENTENCE_LIMIT, shown
from .web.cluster_view import ClusterEvent, ClusterState, Demand, Head, WorkerGroup

# It is read so often while the page is open, and until so long after it was asked for.
READ_SECONDS, OPEN_SECONDS = 10.0, 60.0
CHECK_SECONDS = 0.5
MOST_EVENTS, MOST_DEMANDS, MOST_NAMES = 30, 50, 3
Raw = Mapping[str, Any]


class LiveCluster:
    """The cluster of a connection. `state` may be called from any thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._asked_at = float("-inf")
        self._state = ClusterState(
            connection.target.name, time.time(), problem="The cluster is read now. Look again in a few seconds."
        )

    def state(self) -> ClusterState:
        """Returns the cluster as it was read last, and makes `run` read it again."""
        self._asked_at = time.monotonic()
        return self._state

    async def run(self) -> None:
        """Reads the cluster while somebody looks, until it is cancelled."""
        while True:
            if time.monotonic() - self._asked_at < OPEN_SECONDS:
                self._state = await self._read()
                await asyncio.sleep(READ_SECONDS)
            await asyncio.sleep(CHECK_SECONDS)

    async def _read(self) -> ClusterState:
        name = self._connection.target.name
        try:
            return cluster_state(await gather_from(self._connection, None), name)
        except Exception as error:  # Whatever Ray and Kubernetes answer, the keeper goes on.
            problem = f"What Ray or Kubernetes answered has another form: {type(error).__name__}: {error}"
            return ClusterState(name, time.time(), problem=shown(problem, SENTENCE_LIMIT))


def cluster_state(evidence: Evidence, name: str) -> ClusterState:
    """Returns what was read of the cluster `name`, for the page. Pure."""
    problems = [evidence.ray_error.message] if evidence.ray_error else []
    problems += [f"{gap.name}: {gap.reason}" for gap in evidence.gaps]
    return ClusterState(
        name,
        evidence.read_at,
        _head(evidence),
        tuple(_groups(evidence)),
        tuple(_demand(evidence)),
        tuple(_events(evidence)),
        "\n".join(shown(problem, SENTENCE_LIMIT) for problem in problems),
    )


def _head(evidence: Evidence) -> Head | None:
    version = evidence.ray_version or ""
    heads = [pod for pod in evidence.pods if _label(pod, "ray.io/node-type") == "head"]
    if heads:
        pod = (running_pods(heads) or heads)[0]
        status = pod.get("status") or {}
        return Head(pod_state(pod), str(status.get("podIP") or ""), version, _seconds(status.get("startTime")))
    for node in evidence.nodes:
        if node.get("is_head_node") and node.get("state") == "ALIVE":
            started = node.get("start_time_ms")
            return Head("Running", str(node.get("node_ip") or ""), version, started / 1000 if started else None)
    return Head("Running", "", version) if version else None


def _groups(evidence: Evidence) -> Iterator[WorkerGroup]:
    if evidence.ray_cluster is None:
        return
    specs = (evidence.ray_cluster.get("spec") or {}).get("workerGroupSpecs") or []
    least = {str(spec.get("groupName")): int(spec.get("minReplicas") or 0) for spec in specs}
    for group in groups_of(evidence.ray_cluster, evidence.pods):
        note = ", suspended" if group.suspended else ""
        yield WorkerGroup(
            group.name, least.get(group.name, 0), group.running, group.most, resource_list(group.each) + note
        )


def _demand(evidence: Evidence) -> Iterator[Demand]:
    """Yields the resources for which tasks and actors wait, those of the most first."""
    jobs = {job.job_id or "": job.submission_id for job in evidence.jobs}
    counts: Counter[tuple[tuple[str, float], ...]] = Counter()
    names: dict[tuple[tuple[str, float], ...], dict[str, None]] = {}
    for work in [*evidence.actors, *evidence.tasks]:
        amounts = tuple(sorted((work.get("required_resources") or {}).items()))
        if amounts:
            name = shown(str(work.get("name") or work.get("class_name") or "a task"), SENTENCE_LIMIT)
            job = jobs.get(work.get("job_id") or "?")
            counts[amounts] += 1
            names.setdefault(amounts, {})[f"{name} in {job}" if job else name] = None
    for amounts, number in counts.most_common(MOST_DEMANDS):
        first = list(names[amounts])[:MOST_NAMES]
        more = ", ..." if len(names[amounts]) > MOST_NAMES else ""
        yield Demand(resource_list(dict(amounts)), number, ", ".join(first) + more)


def _events(evidence: Evidence) -> Iterator[ClusterEvent]:
    """Yields the newest events of Kubernetes about the cluster and its pods, the newest first."""
    found = sorted(_own_events(evidence), key=lambda each: each[0], reverse=True)
    for at, event in found[:MOST_EVENTS]:
        about = event.get("involvedObject") or {}
        text = f"{about.get('kind')} {about.get('name')}: {event.get('reason')}: {event.get('message') or ''}"
        yield ClusterEvent(at, shown(text, SENTENCE_LIMIT), event.get("type") == "Warning")


def _own_events(evidence: Evidence) -> Iterator[tuple[float, Raw]]:
    pods = {pod["metadata"]["name"] for pod in evidence.pods}
    for event in evidence.events:
        name = str((event.get("involvedObject") or {}).get("name"))
        at = _seconds(_first(event, ("lastTimestamp", "eventTime")) or event["metadata"].get("creationTimestamp"))
        if at is not None and (name in pods or name == evidence.cluster or name.startswith(f"{evidence.cluster}-")):
            yield at, event


def _first(event: Raw, keys: Iterable[str]) -> Any:
    return next((event[key] for key in keys if event.get(key)), None)


def _label(pod: Raw, name: str) -> Any:
    return (pod["metadata"].get("labels") or {}).get(name)


def _seconds(time_text: Any) -> float | None:
    """Returns a time of Kubernetes in seconds since the epoch; None: there is none."""
    try:
        return datetime.fromisoformat(str(time_text).replace("Z", "+00:00")).timestamp()
    except ValueError:
        return None
