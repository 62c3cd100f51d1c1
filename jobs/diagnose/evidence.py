"""Reads the evidence of `why` from Ray and Kubernetes, with namespaced reads only. An unreadable part becomes a gap."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from ..connection import Connection, open_connection, open_kube
from ..dashboard.client import RayJobsApi
from ..dashboard.log_end import read_log_end
from ..dashboard.state_api import query_state
from ..deadline import Deadline, bounded
from ..errors import JobsError, NotAllowed, UnknownJob, Unreachable
from ..spec.job_info import JobInfo
from ..target.resolve import ClusterTarget, Target
from .alerts import Alert, alerts_of

if TYPE_CHECKING:
    from ..kubernetes.api import Kube

T = TypeVar("T")
Raw = dict[str, Any]
SECONDS = 30.0


@dataclass(frozen=True)
class Gap:
    """Something that could not be read, and the reason. `allowed` is false if a right is missing.

    Attributes:
        remedy: What helps; empty: the Role that is required, if a right is missing.
    """

    name: str
    reason: str
    allowed: bool = True
    remedy: str = ""


@dataclass
class Evidence:
    """Ray's and Kubernetes' objects as the servers gave them; a field that could not be read is empty and has a gap.

    Attributes:
        submission_id: The job in question; None if the question is about the cluster.
        job: The job, as it may be shown; None if the server does not know it.
        log_end: The last lines of the log of a job that runs or failed.
        in_ledger: The job's status in the local job history.
        read_at: When all this was read, in seconds since the epoch.
    """

    submission_id: str | None
    job: JobInfo | None = None
    log_end: str = ""
    in_ledger: str | None = None
    ray_reached: bool = False
    ray_error: JobsError | None = None
    ray_version: str | None = None
    expected_version: str | None = None
    nodes: list[Raw] = field(default_factory=list)
    actors: list[Raw] = field(default_factory=list)
    tasks: list[Raw] = field(default_factory=list)
    jobs: list[JobInfo] = field(default_factory=list)
    autoscaler_error: str | None = None
    cluster: str | None = None
    namespace: str | None = None
    kube_read: bool = False
    ray_cluster: Raw | None = None
    pods: list[Raw] = field(default_factory=list)
    events: list[Raw] = field(default_factory=list)
    quotas: list[Raw] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    read_at: float = field(default_factory=time.time)


async def gather(
    target: Target,
    submission_id: str | None,
    *,
    in_ledger: str | None = None,
    prometheus: str | None = None,
    notify: Callable[[str], None] = lambda _text: None,
) -> Evidence:
    """Reads from Kubernetes, Ray and Prometheus. A failure becomes a gap or `ray_error`, never an exception.

    Args:
        target: The Ray cluster; see `jobs.target.resolve`.
        submission_id: The job in question; None: the cluster.
        in_ledger: The job's status in the local job history.
        prometheus: URL of the Prometheus to ask for alerts; None: that of the stack, if it names one.
        notify: Called with messages for a person.
    """
    evidence = Evidence(submission_id, in_ledger=in_ledger)
    kube: Kube | None = None
    operator_namespace: str | None = None
    async with contextlib.AsyncExitStack() as stack:
        if isinstance(target, ClusterTarget):
            evidence.cluster, evidence.namespace = target.cluster.name, target.cluster.namespace
            evidence.expected_version = target.cluster.ray_version
            prometheus = prometheus or target.contract.prometheus
            operator_namespace = target.contract.operator_namespace
            kube = await _open_kubernetes(target, evidence, stack)
            if kube is not None:
                await _read_kubernetes(kube, evidence, target.cluster.namespace, target.cluster.name)
        else:
            evidence.gaps.append(Gap("pods, events and quotas", "the target is an address, not a cluster of a stack"))
        reads = [_read_from_ray(target, evidence, notify)]
        if prometheus is not None:
            reads.append(_read_alerts(prometheus, kube, evidence, operator_namespace))
        await asyncio.gather(*reads)
    return evidence


async def gather_from(connection: Connection, submission_id: str | None) -> Evidence:
    """Reads as `gather` does, over a connection that is open already."""
    evidence, target = Evidence(submission_id), connection.target
    if isinstance(target, ClusterTarget) and connection.kube is not None:
        evidence.cluster, evidence.namespace = target.cluster.name, target.cluster.namespace
        await _read_kubernetes(connection.kube, evidence, target.cluster.namespace, target.cluster.name)
    await _or_error(_read_ray(connection, evidence), evidence)
    return evidence


async def _read_from_ray(target: Target, evidence: Evidence, notify: Callable[[str], None]) -> None:
    async def read() -> None:
        async with open_connection(target, notify=notify) as connection:
            await _read_ray(connection, evidence)

    await _or_error(read(), evidence)


async def _or_error(read: Awaitable[None], evidence: Evidence) -> None:
    try:
        await bounded(read, SECONDS)
    except asyncio.TimeoutError:
        evidence.ray_error = Unreachable(f"Ray did not answer within {SECONDS:.0f} s.")
    except JobsError as error:
        evidence.ray_error = error


async def _read_ray(connection: Connection, evidence: Evidence) -> None:
    client, deadline = connection.client, Deadline(SECONDS / 2)
    evidence.ray_version = str((await client.version(deadline)).get("ray_version"))
    evidence.jobs = list(await client.list_jobs(deadline))
    evidence.ray_reached = True
    if evidence.submission_id is not None:
        with contextlib.suppress(UnknownJob):
            job = await connection.watcher.get_job(evidence.submission_id, deadline)
            evidence.submission_id = job.submission_id
            evidence.job = job.shown()  # Everything that is read from it is shown.
    job_id = evidence.job.job_id if evidence.job else None

    def query(resource: str, **filters: str) -> Awaitable[list[Raw]]:
        return query_state(client.http, resource, filters, deadline=deadline, limit=1000)

    of_job = {"job_id": job_id} if job_id else {}
    reads = [
        ("nodes", query("nodes")),
        ("actors", query("actors", state="PENDING_CREATION")),
        ("tasks", query("tasks", state="PENDING_NODE_ASSIGNMENT", **of_job)),
    ]
    lists, evidence.log_end = await asyncio.gather(
        asyncio.gather(*(_or_gap(evidence, f"Ray's {name}", read) for name, read in reads)),
        _read_log_end(client, evidence, deadline),
    )
    evidence.nodes, evidence.actors, evidence.tasks = (objects or [] for objects in lists)
    evidence.autoscaler_error = await _or_gap(evidence, "Ray's autoscaler", client.autoscaler_error(deadline))


async def _read_log_end(client: RayJobsApi, evidence: Evidence, deadline: Deadline) -> str:
    """Reads the end of the log: the message of a failed job has only its last ten lines."""
    job = evidence.job
    if job is None or job.status not in ("RUNNING", "FAILED") or job.is_driver:
        return ""

    async def read() -> bytes:
        try:
            return await bounded(read_log_end(client, job), deadline.left)
        except asyncio.TimeoutError:
            raise Unreachable("the log did not arrive in time") from None

    end = await _or_gap(evidence, "the job's log", read())
    return (end or b"").decode(errors="replace")


async def _read_alerts(url: str, kube: Kube | None, evidence: Evidence, operator_namespace: str | None) -> None:
    from .prometheus import read_alerts

    try:
        answer = await read_alerts(url, kube)
        evidence.alerts = alerts_of(answer, evidence.cluster, evidence.namespace, operator_namespace)
    except JobsError as error:
        evidence.gaps.append(Gap("alerts", error.message, remedy=error.remedy))
    except (KeyError, TypeError, AttributeError) as error:
        evidence.gaps.append(Gap("alerts", f"{url} does not have the form of Prometheus' alerts: {error!r}"))


async def _open_kubernetes(target: ClusterTarget, evidence: Evidence, stack: contextlib.AsyncExitStack) -> Kube | None:
    """Opens the Kubernetes API until the end of the stack. None: it cannot be opened."""
    try:
        # The connection tells the user about the kubeconfig.
        kube = await open_kube(target, lambda _text: None)
    except JobsError as error:
        evidence.gaps.append(Gap("Kubernetes", error.message, not isinstance(error, NotAllowed)))
        return None
    stack.push_async_callback(kube.close)
    return kube


async def _read_kubernetes(kube: Kube, evidence: Evidence, namespace: str, cluster: str) -> None:
    from ..kubernetes.api import items_of

    async def items(plural: str) -> list[Raw]:
        return items_of(await kube.get(plural, namespace=namespace), kube.where)

    async def ray_cluster() -> Raw:
        return await kube.get("rayclusters", cluster, namespace=namespace, version="ray.io/v1")

    pods = await _or_gap(evidence, "pods", kube.pods(namespace, {"ray.io/cluster": cluster}))
    evidence.kube_read, evidence.pods = pods is not None, pods or []
    evidence.events = await _or_gap(evidence, "events", items("events")) or []
    evidence.quotas = await _or_gap(evidence, "resource quotas", items("resourcequotas")) or []
    evidence.ray_cluster = await _or_gap(evidence, "the RayCluster", ray_cluster())


async def _or_gap(evidence: Evidence, name: str, read: Awaitable[T]) -> T | None:
    try:
        return await read
    except NotAllowed as error:
        evidence.gaps.append(Gap(name, error.message, False))
    except JobsError as error:
        evidence.gaps.append(Gap(name, error.message))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        evidence.gaps.append(Gap(name, f"the answer does not have the form of Ray 2.60: {error!r}"))
    return None
