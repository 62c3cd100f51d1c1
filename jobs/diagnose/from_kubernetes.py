"""Findings from the RayCluster, its pods and their events, and quotas. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from ..errors import number_of
from ..kubernetes.pod_problems import (
    CRASH_LOOP,
    CREATE_REASONS,
    IMAGE_REASONS,
    Container,
    Ended,
    containers,
    unschedulable,
)
from .evidence import Evidence
from .finding import Finding, cause, clue
from .resources import quantity

Raw = dict[str, Any]
RECENT_SECONDS = 3600.0
OOM_KILLED = "OOMKilled"
# Reasons of events that end a pod, or its node.
ENDING_REASONS = frozenset({"Evicted", "Preempted", "Preempting", "NodeNotReady", "OOMKilling"})


def about_kubernetes(evidence: Evidence) -> Iterator[Finding]:
    """Yields findings from RayCluster, pods, events and quotas, in this order."""
    if ((evidence.ray_cluster or {}).get("spec") or {}).get("suspend"):
        # Nothing else matters now, and the events are older.
        yield cause(
            f"The RayCluster {evidence.namespace}/{evidence.cluster} is suspended, so it has no pods.",
            "Remove `suspend` from the stack's config, then run `pulumi up`.",
        )
        return
    yield from _about_ray_cluster(evidence)
    for pod in evidence.pods:
        yield from _about_pod(pod, evidence.namespace or "")
    yield from _about_events(evidence)
    yield from _about_quotas(evidence.quotas, evidence.namespace or "")


def about_ended_pods(evidence: Evidence) -> Iterator[Finding]:
    """Yields those findings that tell why a pod ended: it failed, was evicted or preempted, or ran out of memory."""
    for pod in evidence.pods:
        ended = {end.reason for each in containers(pod) for end in (each.ended, each.last_ended) if end}
        if (pod.get("status") or {}).get("phase") == "Failed" or OOM_KILLED in ended:
            yield from _about_pod(pod, evidence.namespace or "")
    ending = [event for event in evidence.events if event.get("reason") in ENDING_REASONS]
    yield from _about_events(replace(evidence, events=ending))


def _about_ray_cluster(evidence: Evidence) -> Iterator[Finding]:
    namespace, name, ray_cluster = evidence.namespace, evidence.cluster, evidence.ray_cluster
    missing = any(gap.name == "the RayCluster" and "has no" in gap.reason for gap in evidence.gaps)
    if ray_cluster is None:
        if missing and evidence.kube_read and not evidence.pods:
            yield cause(f"There is no RayCluster {namespace}/{name}, and no pod of it.", "pulumi up")
        return
    status = ray_cluster.get("status") or {}
    behind = (status.get("observedGeneration") or 0) < (ray_cluster["metadata"].get("generation") or 0)
    if behind:
        yield cause(
            "The operator has not acted on the last change of the RayCluster. It may be down, or not watch this "
            "namespace.",
            "kubectl get pods -A -l app.kubernetes.io/component=kuberay-operator",
        )
    for condition in status.get("conditions") or []:
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            # The first line of the message is the reason.
            message = str(condition.get("message")).removeprefix(f"{condition.get('reason')}\n")
            yield _quota(message, namespace or "") or cause(
                f"The operator cannot create pods ({condition.get('reason')}): {message}", _describe(namespace, name)
            )
    head = [pod for pod in evidence.pods if _labels(pod).get("ray.io/node-type") == "head"]
    if evidence.kube_read and not head and not behind:
        yield cause(f"The RayCluster {namespace}/{name} has no head pod.", _describe(namespace, name))


def _describe(namespace: str | None, name: str | None) -> str:
    return f"kubectl describe raycluster -n {namespace} {name}"


def _labels(pod: Raw) -> Raw:
    return pod["metadata"].get("labels") or {}


def _about_pod(pod: Raw, namespace: str) -> Iterator[Finding]:
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    kind = "Head" if _labels(pod).get("ray.io/node-type") == "head" else "Worker"
    title = f"{kind} pod {name}"
    describe = f"kubectl describe pod -n {namespace} {name}"
    if pod["metadata"].get("deletionTimestamp"):
        yield clue(f"{title} is being deleted.", describe)
        return
    if status.get("phase") == "Failed":
        yield cause(
            f"{title} failed: {status.get('reason') or ''} {status.get('message') or ''}".strip() + ".", describe
        )
        return
    if unplaced := unschedulable(pod):
        message = unplaced[1]
        yield cause(f"{title} cannot be scheduled: {message}", _scheduling_remedy(message, describe))
    for container in containers(pod):
        yield from _about_container(container, title, namespace, name)


def _scheduling_remedy(message: str, describe: str) -> str:
    if "Insufficient" in message:
        return "kubectl describe nodes | grep -A8 'Allocated resources'"
    return describe


def _about_container(container: Container, title: str, namespace: str, pod: str) -> Iterator[Finding]:
    name, logs = container.name, f"kubectl logs -n {namespace} {pod} -c {container.name}"
    reason, message = container.waiting_reason, container.waiting_message
    ended, last = container.ended, container.last_ended
    if reason in IMAGE_REASONS:
        yield cause(
            f"{title}: the image {container.image} of container {name} cannot be pulled ({reason}): {message}",
            f"kubectl describe pod -n {namespace} {pod}",
        )
    elif reason in CREATE_REASONS:
        yield cause(
            f"{title}: container {name} cannot be created ({reason}): {message}",
            f"kubectl describe pod -n {namespace} {pod}",
        )
    elif reason == CRASH_LOOP:
        yield cause(f"{title}: container {name} keeps exiting ({_exit(last)}).", f"{logs} --previous")
    elif OOM_KILLED in {end.reason for end in (ended, last) if end}:
        yield cause(
            f"{title}: container {name} was killed because it used more memory than its limit "
            f"({number_of(container.restarts, 'restart')}).",
            "Raise the memory of its group in the stack's config, or run fewer tasks at once.",
        )
    elif ended and ended.exit_code:
        yield cause(f"{title}: container {name} ended ({_exit(ended)}).", logs)
    elif last:
        yield clue(
            f"{title}: container {name} restarted {number_of(container.restarts, 'time')} ({_exit(last)}).",
            f"{logs} --previous",
        )
    elif name == "ray-head" and container.running and not container.ready:
        yield cause(f"{title} runs but is not ready: Ray in it does not answer.", logs)


def _exit(ended: Ended | None) -> str:
    return f"{ended.reason or 'ended'}, exit code {ended.exit_code}" if ended else "no exit code yet"


def _about_events(evidence: Evidence) -> Iterator[Finding]:
    texts: set[str] = set()
    own_names = {pod["metadata"]["name"] for pod in evidence.pods} | {evidence.cluster}
    for event in sorted(evidence.events, key=_time_of, reverse=True):
        about = event.get("involvedObject") or {}
        message = str(event.get("message") or "")
        belongs = about.get("name") in own_names or str(about.get("name")).startswith(f"{evidence.cluster}-")
        if event.get("type") != "Warning" or not belongs or not _is_recent(event, evidence.read_at):
            continue
        finding = _quota(message, evidence.namespace or "")
        if finding is None and event.get("reason") in ENDING_REASONS:
            finding = cause(f"{about.get('kind')} {about.get('name')}: {event.get('reason')}: {message}", "")
        if finding is None and str(event.get("reason")).startswith(
            ("FailedTo", "FailedCreate", "FailedMount", "FailedAttach")
        ):
            finding = clue(
                f"{about.get('kind')} {about.get('name')}: {event.get('reason')}: {message}",
                f"kubectl describe {str(about.get('kind')).lower()} -n {evidence.namespace} {about.get('name')}",
            )
        if finding is not None and finding.text not in texts:
            texts.add(finding.text)
            yield finding


def _quota(message: str, namespace: str) -> Finding | None:
    """Returns the finding for Kubernetes' `exceeded quota: NAME, requested: AMOUNTS, used: AMOUNTS, limited:
    AMOUNTS`."""
    _, _, rest = message.partition("exceeded quota: ")
    name, _, rest = rest.partition(", requested: ")
    requested, _, rest = rest.partition(", used: ")
    used, _, limited = rest.partition(", limited: ")
    limit = limited.partition("\n")[0]
    if not limit or "," in name:
        return None
    return cause(
        f"The quota {name} of namespace {namespace} does not allow another pod: it requests "
        f"{requested}, {used} is used, the limit is {limit.rstrip('.')}.",
        f"kubectl describe resourcequota -n {namespace} {name}",
    )


def _about_quotas(quotas: Iterable[Raw], namespace: str) -> Iterator[Finding]:
    for quota in quotas:
        status = quota.get("status") or {}
        hard, used = status.get("hard") or {}, status.get("used") or {}
        full = [key for key in hard if quantity(used.get(key, 0)) >= quantity(hard[key]) > 0]
        if full:
            shown = ", ".join(f"{key} {used[key]} of {hard[key]}" for key in full)
            yield clue(
                f"The quota {quota['metadata']['name']} of namespace {namespace} is used up: {shown}.",
                f"kubectl describe resourcequota -n {namespace} {quota['metadata']['name']}",
            )


def _time_of(event: Raw) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or "")


def _is_recent(event: Raw, now: float) -> bool:
    try:
        at = datetime.fromisoformat(_time_of(event).replace("Z", "+00:00"))
    except ValueError:
        return True
    return now - at.timestamp() < RECENT_SECONDS
