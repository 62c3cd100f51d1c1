"""Why a RayCluster is not ready yet, said while `up` waits and not after a ten-minute timeout."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pulumi

from components.cluster import operators as installed
from components.cluster.api import Api, ClusterError, Forbidden
from components.resources.raycluster import RayCluster

POLL_SECONDS = 5.0
# The operator takes up a change within a second or two, and a restart shows in the conditions at once.
ACKNOWLEDGE_POLLS = 3
# A busy operator may need as long for a new RayCluster; one that does not watch its namespace never looks.
IGNORED_POLLS = 4
PATIENCE_POLLS = 2  # a reason seen this often in a row is worth a warning; a pod just made is briefly unschedulable

Object = Mapping[str, Any]

# Reasons of a container that does not start, and of events, that do not pass by themselves.
STUCK = {
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
}
TELLING_EVENTS = {
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
    """What keeps a RayCluster from being ready, each thing once, for people.

    `pods` of the cluster, `events` of its namespace, the RayCluster itself (None: not created yet). `operator`: it is
    available. `ignored`: it is, and the RayCluster has had no status for long.
    """
    name = cluster["metadata"]["name"] if cluster else ""
    # Events outlive what they tell of: those of a pod count only while it has not started.
    names = {pod["metadata"]["name"] for pod in pods if not _started(pod)} | {name}
    found = [text for pod in pods for text in _of_pod(pod)]
    found += [text for event in events for text in _of_event(event, names)]
    if cluster:
        found += [*(() if operator else _of_generation(cluster)), *_of_conditions(cluster)]
        if ignored:
            namespace = cluster["metadata"]["namespace"]
            found.append(
                f"RayCluster: the operator is available and has not looked at it; does it watch namespace {namespace}? "
                "`--watch-namespace` of its Deployment says which"
            )
    return list(dict.fromkeys(found))


def _of_pod(pod: Object) -> Iterator[str]:
    name, status = _stable(pod), pod.get("status", {})
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            yield f"{name}: no node takes it: {condition.get('message', condition.get('reason', ''))}"
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        waiting = container.get("state", {}).get("waiting") or {}
        ended = (container.get("lastState", {}).get("terminated") or container.get("state", {}).get("terminated")) or {}
        if waiting.get("reason") in STUCK:
            text = f"{name}, container {container['name']}: {waiting['reason']}"
            yield f"{text}: {waiting['message']}" if waiting.get("message") else f"{text} ({container['image']})"
        if ended.get("exitCode"):
            yield (
                f"{name}, container {container['name']}: ended with {ended['exitCode']} ({ended.get('reason', '')}); "
                f"see `kubectl logs -n {pod['metadata']['namespace']} -l {_selector(pod)} -c {container['name']}`"
            )


def _started(pod: Object) -> bool:
    statuses = pod.get("status", {}).get("containerStatuses", [])
    return bool(statuses) and not any("waiting" in status.get("state", {}) for status in statuses)


def _selector(pod: Object) -> str:
    """Finds the pod, and the one that the operator makes in its place: a crashed head is gone within a minute."""
    labels = pod["metadata"].get("labels", {})
    wanted = ("ray.io/cluster", "ray.io/node-type", "ray.io/group")
    return ",".join(f"{label}={labels[label]}" for label in wanted if label in labels)


def _stable(pod: Object) -> str:
    """A pod without the random end of its name: the next try of the same group is the same reason."""
    labels = pod["metadata"].get("labels", {})
    kind = labels.get("ray.io/node-type", "pod")
    group = labels.get("ray.io/group")
    return f"{kind} pod of {group}" if kind == "worker" and group else f"{kind} pod"


def _of_event(event: Object, names: set[str]) -> Iterator[str]:
    about = event.get("involvedObject", {})
    if event.get("type") == "Warning" and event.get("reason") in TELLING_EVENTS and about.get("name") in names:
        yield f"{about.get('kind')} {about.get('name')}: {event['reason']}: {event.get('message', '')}"


def _of_generation(cluster: Object) -> Iterator[str]:
    status, wanted = cluster.get("status") or {}, cluster["metadata"].get("generation", 0)
    # KubeRay before v0.5 has no such field: its status says nothing of the kind, an empty one does.
    seen = status.get("observedGeneration", wanted if status else 0)
    if seen < wanted:
        yield "RayCluster: the operator has not taken up the last change, and it is not available"


def _of_conditions(cluster: Object) -> Iterator[str]:
    for condition in cluster.get("status", {}).get("conditions", []):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            yield f"RayCluster: {condition.get('reason')}: {condition.get('message', '')}"


def unacknowledged(cluster: Object) -> int | None:
    """The generation that the status of a RayCluster that is as it should be has not caught up with; None: nothing.

    The operator writes `observedGeneration` only together with some other change of the status (KubeRay's
    `InconsistentRayClusterStatus`), so after an update that restarts nothing it stays behind for ever, and with it
    everything that waits for the RayCluster by Kubernetes' conventions.
    """
    wanted, status = cluster["metadata"].get("generation", 0), cluster.get("status") or {}
    held = {entry["type"] for entry in status.get("conditions", []) if entry["status"] == "True"}
    behind = status.get("observedGeneration", wanted) < wanted
    settled = {"RayClusterSuspended"} if cluster["spec"].get("suspend") else {"HeadPodReady", "RayClusterProvisioned"}
    return wanted if behind and held >= settled else None


class Watch:
    """Polls one RayCluster in the background and tells each new reason once, until `stop`.

    Where the operator is there and the cluster stays ready, it also writes the `observedGeneration` that the operator
    leaves behind; an operator that is not there leaves `up` waiting, and is named. `restarts`: whether this update
    restarts pods: then "ready" is of the old ones until the operator has written the generation itself.
    """

    def __init__(
        self,
        api: Api,
        namespace: str,
        name: str,
        path: str,
        operator_namespace: str,
        tell: Callable[[str], None],
        restarts: Callable[[], bool],
    ) -> None:
        self._api, self._namespace, self._name, self._path, self._tell = api, namespace, name, path, tell
        self._operator_namespace, self._restarts = operator_namespace, restarts
        self._done = threading.Event()
        self._seen: dict[str, int] = {}
        self._ready_polls = 0
        self._silent_polls = 0

    def start(self) -> None:
        threading.Thread(target=self._run, name=f"progress-{self._name}", daemon=True).start()

    def stop(self) -> None:
        self._done.set()

    def _run(self) -> None:
        while not self._done.wait(POLL_SECONDS):
            try:
                self.look()
            except Forbidden:
                continue  # a guest may not read everything; the engine's own request says what it lacks
            except ClusterError as error:
                # The provider, once it watches, waits for the server without an end and without a word.
                self._count(f"{error} `up` goes on once it answers. Ctrl-C ends it; the next `up` takes it from there.")

    def look(self) -> None:
        """One poll."""
        pods, events = f"/api/v1/namespaces/{self._namespace}/pods", f"/api/v1/namespaces/{self._namespace}/events"
        cluster = self._api.get(self._path)
        if cluster is None:
            return
        started = cluster["metadata"]["creationTimestamp"]
        own = self._api.get(pods, labelSelector=f"ray.io/cluster={self._name}") or {"items": []}
        warnings = self._api.get(events, fieldSelector="type=Warning") or {"items": []}
        recent = [event for event in warnings["items"] if (event.get("lastTimestamp") or started) >= started]
        operator = any(map(installed.available, installed.find(self._api, self._operator_namespace)))
        self._acknowledge(cluster, operator)
        self._silent_polls = 0 if cluster.get("status") or not operator else self._silent_polls + 1
        ignored = self._silent_polls >= IGNORED_POLLS
        for reason in reasons(own["items"], recent, cluster, operator=operator, ignored=ignored):
            self._count(reason)

    def _count(self, reason: str) -> None:
        self._seen[reason] = self._seen.get(reason, 0) + 1
        if self._seen[reason] == PATIENCE_POLLS:
            self._tell(reason)

    def _acknowledge(self, cluster: Object, operator: bool) -> None:
        generation = unacknowledged(cluster) if operator and not self._restarts() else None
        self._ready_polls = 0 if generation is None else self._ready_polls + 1
        if self._ready_polls == ACKNOWLEDGE_POLLS:
            status = {"status": {"observedGeneration": generation}}
            self._api.call("PATCH", f"{self._path}/status", body=status, content_type="application/merge-patch+json")


def watch(
    api: Api, manifest: Object, operator_namespace: str, cluster: RayCluster, restarts: Callable[[], bool]
) -> None:
    """Tells, as warnings on `cluster`, why it is not ready, until it is. Not in previews. `restarts`: see `Watch`."""
    if pulumi.runtime.is_dry_run():
        return
    metadata = manifest["metadata"]
    path = f"/apis/{manifest['apiVersion']}/namespaces/{metadata['namespace']}/rayclusters/{metadata['name']}"

    def begin(_urn: str) -> None:
        # Warnings go through the program's own event loop: only there can the SDK look up what they are about.
        loop, context = asyncio.get_running_loop(), contextvars.copy_context()

        def tell(reason: str) -> None:
            text = f"not ready yet: {reason}"
            loop.call_soon_threadsafe(functools.partial(pulumi.log.warn, text, cluster), context=context)

        watching = Watch(api, metadata["namespace"], metadata["name"], path, operator_namespace, tell, restarts)
        watching.start()
        cluster.object.id.apply(lambda _id: watching.stop())

    # The component's URN is known at once, the RayCluster's own only when the wait is over.
    cluster.urn.apply(begin)
