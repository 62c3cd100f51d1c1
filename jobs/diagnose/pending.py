"""Why a job is still PENDING: one clause for the status line, from the evidence of `why`."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..activity import muted

if TYPE_CHECKING:
    from ..connection import Connection
    from ..spec.job_info import JobInfo
    from .evidence import Evidence

# Seconds in PENDING until the reason is looked for, and then between two looks.
FIRST_SECONDS, AGAIN_SECONDS = 10.0, 10.0
# A look at a large cluster takes the servers a while: the pause after it is this many times as long.
PAUSE_FACTOR = 4
# The longest reason, in characters.
REASON_LIMIT = 200
_WORKER_STATES = {"ContainerCreating": "is being created", "PodInitializing": "waits for the head"}


class PendingReasons:
    """Looks for the reason beside the wait for a job, over the connection of the wait."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._since: dict[str, float] = {}
        self._reasons: dict[str, str] = {}
        self._next_look = 0.0
        self._look: asyncio.Task[None] | None = None

    def describe(self, job: JobInfo) -> str:
        """Returns the last known reason; empty if there is none yet, or if the job is not PENDING.

        Starts a new look if one is due.
        """
        if job.status != "PENDING":
            self._since.pop(job.submission_id, None)
            return ""
        now = time.monotonic()
        since = self._since.setdefault(job.submission_id, now)
        idle = self._look is None or self._look.done()
        if idle and now - since >= FIRST_SECONDS and now >= self._next_look:
            self._look = asyncio.ensure_future(self._find(job.submission_id))
        return self._reasons.get(job.submission_id, "")

    async def close(self) -> None:
        """Ends a look that is not done."""
        if self._look is not None:
            self._look.cancel()
            await asyncio.gather(self._look, return_exceptions=True)

    async def _find(self, submission_id: str) -> None:
        from .evidence import gather_from

        began = time.monotonic()
        with muted(), contextlib.suppress(Exception):  # The wait goes on, whatever this look meets.
            self._reasons[submission_id] = pending_reason(await gather_from(self.connection, submission_id))
        now = time.monotonic()
        self._next_look = now + max(AGAIN_SECONDS, PAUSE_FACTOR * (now - began))


def pending_reason(evidence: Evidence) -> str:
    """Returns in one clause what a PENDING job waits for: the first cause, a worker that starts, a clue, or Ray's text.

    Pure.
    """
    from ..spec.shown import SENTENCE_LIMIT, shown
    from .finding import CAUSE, CLUE
    from .why import explain

    job = evidence.job
    if job is None or job.status != "PENDING":
        return ""
    findings = explain(evidence)
    causes = [finding.text for finding in findings if finding.kind == CAUSE]
    clues = [finding.text for finding in findings if finding.kind == CLUE and not finding.text.startswith("No cause")]
    texts = [*causes, *_starting_workers(evidence), *clues, job.message]
    text = next((text for text in texts if text), "")
    sentence = " ".join(text.split()).partition(". ")[0].rstrip(".")
    if sentence.partition(" ")[0] in ("The", "It", "Its", "No"):
        sentence = sentence[0].lower() + sentence[1:]  # It becomes a clause.
    return shown(sentence[:REASON_LIMIT], SENTENCE_LIMIT)


def _starting_workers(evidence: Evidence) -> Iterator[str]:
    """Yields a clause for each worker pod that starts, such as `waiting for a small-group worker, pod is pulling X`."""
    from ..kubernetes.pod_problems import containers

    for pod in evidence.pods:
        labels = pod["metadata"].get("labels") or {}
        if labels.get("ray.io/node-type") != "worker" or pod["metadata"].get("deletionTimestamp"):
            continue
        status = pod.get("status") or {}
        waits = [container.waiting_reason for container in containers(pod) if container.waiting_reason]
        if status.get("phase") == "Running" and all(container.ready for container in containers(pod)):
            continue
        if image := _image_being_pulled(evidence.events, str(pod["metadata"]["name"])):
            state = f"is pulling {image}"
        elif status.get("phase") == "Running":
            state = "runs, Ray in it is starting"
        else:
            state = next((_WORKER_STATES[reason] for reason in waits if reason in _WORKER_STATES), "is being scheduled")
        yield f"waiting for a {labels.get('ray.io/group') or 'new'} worker, pod {state}"


def _image_being_pulled(events: list[dict[str, Any]], pod: str) -> str:
    """Returns the image of the kubelet's last event about a pod, if that is the beginning of a pull; else empty."""
    own = [event for event in events if (event.get("involvedObject") or {}).get("name") == pod]
    last = max(own, key=_time_of, default={})
    if last.get("reason") != "Pulling":
        return ""
    return str(last.get("message") or "").removeprefix("Pulling image ").strip('"')


def _time_of(event: dict[str, Any]) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or "")
