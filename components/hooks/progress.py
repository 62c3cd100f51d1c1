"""Warns why a RayCluster is not ready while `up` waits, not only after its timeout of ten minutes."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pulumi

from components.cluster import operators
from components.cluster.api import Api
from components.cluster.paths import object_path
from components.errors import ClusterError, Forbidden
from jobs.kubernetes.pod_problems import STUCK_REASONS, containers, unschedulable

POLL_SECONDS = 5.0
# The operator acts on a change within two seconds, and the conditions show a restart at once.
ACKNOWLEDGE_POLLS = 3
# A busy operator may need this long for a new RayCluster. One that does not watch its namespace never acts on it.
IGNORED_POLLS = 4
# A reason is reported once this many polls have seen it: a new pod is unschedulable for a moment.
PATIENCE_POLLS = 2

Object = Mapping[str, Any]

# Reasons of events that rarely pass without help.
REPORTED_EVENTS = {
    "InvalidRayClusterSpec",
    "InvalidRayClusterMetadata",
    "InvalidRayClusterStatus",
    "FailedToCreateHeadPod",
    "FailedToCreateWorkerPod",
    "FailedToCreateService",
    "FailedCreate",
    "FailedMount",
    "FailedAttachVolume",
}


def reasons(
    pods: Sequence[Object],
    events: Sequence[Object],
    cluster: Object | None,
    *,
    operator: bool = True,
    ignored: bool = False,
) -> list[str]:
    """Returns the reasons why a RayCluster is not ready, each once, in words.

    Args:
        pods: pods of the cluster.
        events: events of its namespace.
        cluster: the RayCluster; None: it does not exist yet.
        operator: whether the operator is available.
        ignored: whether the operator is available and the RayCluster has had no status for long.
    """
    name = cluster["metadata"]["name"] if cluster else ""
    # Events outlive their cause: those of a pod count only until it has started.
    names = {pod["metadata"]["name"] for pod in pods if not _started(pod)} | {name}
    lines = [text for pod in pods for text in _of_pod(pod)]
    lines += [text for event in events for text in _of_event(event, names)]
    if cluster:
        lines += [*(() if operator else _of_generation(cluster)), *_of_conditions(cluster)]
        if ignored:
            namespace = cluster["metadata"]["namespace"]
            lines.append(
                f"RayCluster: the operator is available, but has not acted on it. Does it watch namespace {namespace}? "
                "See `--watch-namespace` in its Deployment"
            )
    return list(dict.fromkeys(lines))


def _of_pod(pod: Object) -> Iterator[str]:
    name = _stable_name(pod)
    if condition := unschedulable(pod):
        reason, message = condition
        yield f"{name}: no node can take it: {message or reason}"
    for container in containers(pod):
        subject = f"{name}, container {container.name}"
        if container.waiting_reason in STUCK_REASONS:
            text = f"{subject}: {container.waiting_reason}"
            yield f"{text}: {container.waiting_message}" if container.waiting_message else f"{text} ({container.image})"
        ended = container.last_ended or container.ended
        if ended and ended.exit_code:
            yield (
                f"{subject}: ended with exit code {ended.exit_code} ({ended.reason}); "
                f"see `kubectl logs -n {pod['metadata']['namespace']} -l {_selector(pod)} -c {container.name}`"
            )


def _started(pod: Object) -> bool:
    statuses = pod.get("status", {}).get("containerStatuses", [])
    return bool(statuses) and not any("waiting" in status.get("state", {}) for status in statuses)


def _selector(pod: Object) -> str:
    """Returns a label selector for the pod and its replacement: the operator replaces a crashed head within a
    minute."""
    labels = pod["metadata"].get("labels", {})
    keys = ("ray.io/cluster", "ray.io/node-type", "ray.io/group")
    return ",".join(f"{key}={labels[key]}" for key in keys if key in labels)


def _stable_name(pod: Object) -> str:
    """Returns the pod without the random end of its name, so that a replacement with the same problem is the same
    reason."""
    labels = pod["metadata"].get("labels", {})
    kind = labels.get("ray.io/node-type", "pod")
    group = labels.get("ray.io/group")
    return f"{kind} pod of {group}" if kind == "worker" and group else f"{kind} pod"


def _of_event(event: Object, names: set[str]) -> Iterator[str]:
    about = event.get("involvedObject", {})
    if event.get("type") == "Warning" and event.get("reason") in REPORTED_EVENTS and about.get("name") in names:
        yield f"{about.get('kind')} {about.get('name')}: {event['reason']}: {event.get('message', '')}"


def _of_generation(cluster: Object) -> Iterator[str]:
    status, generation = cluster.get("status") or {}, cluster["metadata"].get("generation", 0)
    # KubeRay before v0.5 never writes the field. An empty status means that no operator has acted on the RayCluster.
    observed = status.get("observedGeneration", generation if status else 0)
    if observed < generation:
        yield "RayCluster: the operator has not taken up the last change, and it is not available"


def _of_conditions(cluster: Object) -> Iterator[str]:
    for condition in cluster.get("status", {}).get("conditions", []):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            yield f"RayCluster: {condition.get('reason')}: {condition.get('message', '')}"


def unacknowledged(cluster: Object) -> int | None:
    """Returns the generation of a ready RayCluster that its status does not state yet; None: nothing is missing.

    The operator writes `observedGeneration` only together with another change of the status (KubeRay's
    `InconsistentRayClusterStatus`). After an update that restarts nothing the field stays behind for ever, and everyone
    who waits for the RayCluster by the conventions of Kubernetes waits for ever.
    """
    generation, status = cluster["metadata"].get("generation", 0), cluster.get("status") or {}
    true_conditions = {entry["type"] for entry in status.get("conditions", []) if entry["status"] == "True"}
    ready = {"RayClusterSuspended"} if cluster["spec"].get("suspend") else {"HeadPodReady", "RayClusterProvisioned"}
    behind = status.get("observedGeneration", generation) < generation
    return generation if behind and true_conditions >= ready else None


class ReadinessReporter:
    """Polls one RayCluster in a thread and reports each new reason once, until `stop`.

    While the operator is available and the cluster stays ready, it also writes the `observedGeneration` that the
    operator has left behind.

    Args:
        api: API server of the cluster.
        manifest: the RayCluster.
        operator_namespace: namespace of the operator.
        notify: reports a reason.
        restarts: whether the current update restarts pods. Then "ready" describes the old pods until the operator has
            written the generation itself.
    """

    def __init__(
        self,
        api: Api,
        manifest: Object,
        operator_namespace: str,
        notify: Callable[[str], None],
        restarts: Callable[[], bool],
    ) -> None:
        metadata = manifest["metadata"]
        self._api, self._namespace, self._name = api, metadata["namespace"], metadata["name"]
        self._path = object_path(manifest["apiVersion"], "RayCluster", self._namespace, self._name)
        self._operator_namespace, self._notify, self._restarts = operator_namespace, notify, restarts
        self._stopped = threading.Event()
        self._polls_by_reason: dict[str, int] = {}
        self._behind_polls = 0
        self._silent_polls = 0

    def start(self) -> None:
        threading.Thread(target=self._run, name=f"progress-{self._name}", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(POLL_SECONDS):
            try:
                self.poll()
            except Forbidden:
                continue  # this user cannot read everything; the engine's own request reports a right that `up` lacks
            except ClusterError as error:
                # Pulumi's provider waits for the server without a limit and without a message.
                self._count(f"{error} `up` continues once it answers. Ctrl-C stops it; the next `up` continues.")

    def poll(self) -> None:
        """Reads the cluster once."""
        folder = f"/api/v1/namespaces/{self._namespace}"
        cluster = self._api.get(self._path)
        if cluster is None:
            return
        started = cluster["metadata"]["creationTimestamp"]
        pods = self._api.get(f"{folder}/pods", labelSelector=f"ray.io/cluster={self._name}") or {"items": []}
        warnings = self._api.get(f"{folder}/events", fieldSelector="type=Warning") or {"items": []}
        events = [event for event in warnings["items"] if (event.get("lastTimestamp") or started) >= started]
        operator = any(map(operators.available, operators.find(self._api, self._operator_namespace)))
        self._write_observed_generation(cluster, operator)
        self._silent_polls = 0 if cluster.get("status") or not operator else self._silent_polls + 1
        ignored = self._silent_polls >= IGNORED_POLLS
        for reason in reasons(pods["items"], events, cluster, operator=operator, ignored=ignored):
            self._count(reason)

    def _count(self, reason: str) -> None:
        self._polls_by_reason[reason] = self._polls_by_reason.get(reason, 0) + 1
        if self._polls_by_reason[reason] == PATIENCE_POLLS:
            self._notify(reason)

    def _write_observed_generation(self, cluster: Object, operator: bool) -> None:
        generation = unacknowledged(cluster) if operator and not self._restarts() else None
        self._behind_polls = 0 if generation is None else self._behind_polls + 1
        if self._behind_polls == ACKNOWLEDGE_POLLS:
            status = {"status": {"observedGeneration": generation}}
            self._api.call("PATCH", f"{self._path}/status", body=status, content_type="application/merge-patch+json")


def report_until_ready(
    api: Api,
    manifest: Object,
    operator_namespace: str,
    *,
    component: pulumi.Resource,
    raycluster: pulumi.CustomResource,
    restarts: Callable[[], bool],
) -> None:
    """Reports why a RayCluster is not ready, as warnings on its component, until it is. Previews report nothing.

    Args:
        api: API server of the cluster.
        manifest: the RayCluster.
        operator_namespace: namespace of the operator.
        component: the resource that the warnings belong to; the parent of `raycluster`.
        raycluster: the resource whose creation or update `up` waits for.
        restarts: see `ReadinessReporter`.
    """
    if pulumi.runtime.is_dry_run():
        return

    def begin(_urn: str) -> None:
        # Warnings go through the event loop of the program: only there can the SDK look up their resource.
        loop, context = asyncio.get_running_loop(), contextvars.copy_context()

        def notify(reason: str) -> None:
            text = f"not ready yet: {reason}"
            loop.call_soon_threadsafe(functools.partial(pulumi.log.warn, text, component), context=context)

        reporter = ReadinessReporter(api, manifest, operator_namespace, notify, restarts)
        reporter.start()
        raycluster.id.apply(lambda _id: reporter.stop())

    # The URN of the component is known at once, that of the RayCluster only when the wait is over.
    component.urn.apply(begin)
