"""Warns why a RayCluster is not ready while `up` waits, not only after its timeout of ten minutes."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pulumi

from components.cluster import operators
from components.cluster.api import Api
from components.cluster.paths import object_path
from components.errors import ClusterError, Forbidden
from jobs.kubernetes.paths import resource_path
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


class ClusterView:
    """What the API server shows at one moment. Each list is read once, however many RayClusters ask for it.

    Args:
        api: API server of the cluster.
        operator_namespace: namespace of the operator.
    """

    def __init__(self, api: Api, operator_namespace: str) -> None:
        self._api, self._operator_namespace = api, operator_namespace
        self._lists: dict[str, list[Object]] = {}

    def raycluster(self, manifest: Object) -> Object | None:
        """Returns the RayCluster of a manifest as it is; None: it does not exist."""
        metadata = manifest["metadata"]
        folder = resource_path(manifest["apiVersion"], "rayclusters", namespace=metadata["namespace"])
        found = (each for each in self._list(folder) if each["metadata"]["name"] == metadata["name"])
        return next(found, None)

    def pods(self, namespace: str, cluster: str) -> list[Object]:
        pods = self._list(f"/api/v1/namespaces/{namespace}/pods", labelSelector="ray.io/cluster")
        return [pod for pod in pods if pod["metadata"].get("labels", {}).get("ray.io/cluster") == cluster]

    def warnings(self, namespace: str) -> list[Object]:
        return self._list(f"/api/v1/namespaces/{namespace}/events", fieldSelector="type=Warning")

    @functools.cached_property
    def operator_is_available(self) -> bool:
        return any(map(operators.available, operators.find(self._api, self._operator_namespace)))

    def _list(self, path: str, **params: str) -> list[Object]:
        if path not in self._lists:
            self._lists[path] = (self._api.get(path, **params) or {"items": []})["items"]
        return self._lists[path]


class ReadinessReporter:
    """Reports each new reason why one RayCluster is not ready, once.

    While the operator is available and the cluster stays ready, it also writes the `observedGeneration` that the
    operator has left behind.

    Args:
        api: API server of the cluster.
        manifest: the RayCluster.
        notify: reports a reason.
        restarts: whether the current update restarts pods. Then "ready" describes the old pods until the operator has
            written the generation itself.
    """

    def __init__(self, api: Api, manifest: Object, notify: Callable[[str], None], restarts: Callable[[], bool]) -> None:
        self._api, self._manifest, self._notify, self._restarts = api, manifest, notify, restarts
        self._polls_by_reason: dict[str, int] = {}
        self._behind_polls = 0
        self._silent_polls = 0

    def poll(self, view: ClusterView) -> None:
        """Looks at the cluster once."""
        cluster = view.raycluster(self._manifest)
        if cluster is None:
            return
        namespace, name = cluster["metadata"]["namespace"], cluster["metadata"]["name"]
        started = cluster["metadata"]["creationTimestamp"]
        pods = view.pods(namespace, name)
        events = [event for event in view.warnings(namespace) if (event.get("lastTimestamp") or started) >= started]
        operator = view.operator_is_available
        self._write_observed_generation(cluster, operator)
        self._silent_polls = 0 if cluster.get("status") or not operator else self._silent_polls + 1
        ignored = self._silent_polls >= IGNORED_POLLS
        for reason in reasons(pods, events, cluster, operator=operator, ignored=ignored):
            self.count(reason)

    def count(self, reason: str) -> None:
        """Counts a reason, and reports it once it has lasted."""
        self._polls_by_reason[reason] = self._polls_by_reason.get(reason, 0) + 1
        if self._polls_by_reason[reason] == PATIENCE_POLLS:
            self._notify(reason)

    def _write_observed_generation(self, cluster: Object, operator: bool) -> None:
        generation = unacknowledged(cluster) if operator and not self._restarts() else None
        self._behind_polls = 0 if generation is None else self._behind_polls + 1
        if self._behind_polls == ACKNOWLEDGE_POLLS:
            metadata = cluster["metadata"]
            path = object_path(self._manifest["apiVersion"], "RayCluster", metadata["namespace"], metadata["name"])
            status = {"status": {"observedGeneration": generation}}
            self._api.call("PATCH", f"{path}/status", body=status, content_type="application/merge-patch+json")


class ReadinessWatch:
    """Polls the RayClusters of a stack that are not ready yet, all of them in one thread.

    Args:
        api: API server of the cluster.
        operator_namespace: namespace of the operator.
    """

    def __init__(self, api: Api, operator_namespace: str) -> None:
        self._api, self._operator_namespace = api, operator_namespace
        self._reporters: list[ReadinessReporter] = []
        self._runs = False
        self._lock = threading.Lock()

    def report_until_ready(
        self,
        manifest: Object,
        *,
        component: pulumi.Resource,
        raycluster: pulumi.CustomResource,
        after: Sequence[pulumi.Resource],
        restarts: Callable[[], bool],
    ) -> None:
        """Reports why a RayCluster is not ready, as warnings on its component, until it is. Previews report nothing.

        Args:
            manifest: the RayCluster.
            component: the resource that the warnings belong to; the parent of `raycluster`.
            raycluster: the resource whose creation or update `up` waits for.
            after: resources that are created before `raycluster`.
            restarts: see `ReadinessReporter`.
        """
        if pulumi.runtime.is_dry_run():
            return

        def begin(_urns: Sequence[str]) -> None:
            # Warnings go through the event loop of the program: only there can the SDK look up their resource.
            loop, context = asyncio.get_running_loop(), contextvars.copy_context()

            def notify(reason: str) -> None:
                text = f"not ready yet: {reason}"
                loop.call_soon_threadsafe(functools.partial(pulumi.log.warn, text, component), context=context)

            reporter = ReadinessReporter(self._api, manifest, notify, restarts)
            self._add(reporter)
            raycluster.id.apply(lambda _id: self._remove(reporter))

        # The URN of a component is known at once, that of another resource only when it is created.
        pulumi.Output.all(component.urn, *[each.urn for each in after]).apply(begin)

    def _add(self, reporter: ReadinessReporter) -> None:
        with self._lock:
            self._reporters.append(reporter)
            if not self._runs:
                self._runs = True
                threading.Thread(target=self._run, name="readiness", daemon=True).start()

    def _remove(self, reporter: ReadinessReporter) -> None:
        with self._lock:
            self._reporters.remove(reporter)

    def _run(self) -> None:
        while True:
            time.sleep(POLL_SECONDS)
            with self._lock:
                reporters = list(self._reporters)
                self._runs = bool(reporters)
            if not reporters:
                return
            self.poll(reporters)

    def poll(self, reporters: Sequence[ReadinessReporter]) -> None:
        """Looks once at the RayClusters of these reporters."""
        view = ClusterView(self._api, self._operator_namespace)
        for reporter in reporters:
            try:
                reporter.poll(view)
            except Forbidden:
                continue  # this user cannot read everything; the engine's own request reports a right that `up` lacks
            except ClusterError as error:
                # Pulumi's provider waits for the server without a limit and without a message.
                for each in reporters:
                    each.count(f"{error} `up` continues once it answers. Ctrl-C stops it; the next `up` continues.")
                return
