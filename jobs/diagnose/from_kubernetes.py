"""What Kubernetes' objects say about a cluster that cannot do its work. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from typing import Any

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

Raw = dict[str, Any]
_QUOTA = re.compile(
    r"exceeded quota: (?P<name>[^,]+), requested: (?P<asked>.+?), used: (?P<used>.+?), limited: (?P<limit>.+)"
)
RECENT_SECONDS = 3600.0


def about_kubernetes(evidence: Evidence) -> Iterator[Finding]:
    """Findings from RayCluster, pods, events and quotas, the most telling first."""
    if ((evidence.ray_cluster or {}).get("spec") or {}).get("suspend"):
        # Nothing else matters, and the events are of the time before.
        yield cause(
            f"The RayCluster {evidence.namespace}/{evidence.cluster} is suspended: it has no pods on purpose.",
            "Take `suspend` out of the stack's config, then `pulumi up`.",
        )
        return
    yield from _about_ray_cluster(evidence)
    for pod in evidence.pods:
        yield from _about_pod(pod, evidence.namespace or "")
    yield from _about_events(evidence)
    yield from _about_quotas(evidence.quotas, evidence.namespace or "")


def _about_ray_cluster(evidence: Evidence) -> Iterator[Finding]:
    namespace, name, found = evidence.namespace, evidence.cluster, evidence.ray_cluster
    missing = any(gap.what == "the RayCluster" and "has no" in gap.why for gap in evidence.gaps)
    if found is None:
        if missing and evidence.kube_read and not evidence.pods:
            yield cause(f"There is no RayCluster {namespace}/{name}, and no pod of it.", "pulumi up")
        return
    status = found.get("status") or {}
    behind = (status.get("observedGeneration") or 0) < (found["metadata"].get("generation") or 0)
    if behind:
        yield cause(
            "The operator has not acted on the RayCluster's last change: it may be down, or watch other namespaces.",
            "kubectl get pods -A -l app.kubernetes.io/component=kuberay-operator",
        )
    for condition in status.get("conditions") or []:
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            # The message begins with the reason, on a line of its own.
            message = str(condition.get("message")).removeprefix(f"{condition.get('reason')}\n")
            yield _quota(message, namespace or "") or cause(
                f"The operator cannot make pods ({condition.get('reason')}): {message}", _describe(namespace, name)
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
    called = f"{kind} pod {name}"
    describe = f"kubectl describe pod -n {namespace} {name}"
    if pod["metadata"].get("deletionTimestamp"):
        yield clue(f"{called} is being deleted.", describe)
        return
    if status.get("phase") == "Failed":
        yield cause(
            f"{called} failed: {status.get('reason') or ''} {status.get('message') or ''}".strip() + ".", describe
        )
        return
    if unplaced := unschedulable(pod):
        message = unplaced[1]
        yield cause(f"{called} cannot be placed: {message}", _placing(message, describe))
    for container in containers(pod):
        yield from _about_container(container, called, namespace, name)


def _placing(message: str, describe: str) -> str:
    if "Insufficient" in message:
        return "kubectl describe nodes | grep -A8 'Allocated resources'"
    return describe


def _about_container(container: Container, called: str, namespace: str, pod: str) -> Iterator[Finding]:
    name, logs = container.name, f"kubectl logs -n {namespace} {pod} -c {container.name}"
    reason, message = container.waiting_reason, container.waiting_message
    ended, last = container.ended, container.last_ended
    if reason in IMAGE_REASONS:
        yield cause(
            f"{called}: the image {container.image} of container {name} cannot be pulled ({reason}): {message}",
            f"kubectl describe pod -n {namespace} {pod}",
        )
    elif reason in CREATE_REASONS:
        yield cause(
            f"{called}: container {name} cannot be made ({reason}): {message}",
            f"kubectl describe pod -n {namespace} {pod}",
        )
    elif reason == CRASH_LOOP:
        yield cause(f"{called}: container {name} keeps ending ({_exit(last)}).", f"{logs} --previous")
    elif "OOMKilled" in {end.reason for end in (ended, last) if end}:
        yield cause(
            f"{called}: container {name} was killed for using more memory than its limit "
            f"({container.restarts} restarts).",
            "Raise the group's memory in the stack's config, or let fewer tasks run at once.",
        )
    elif ended and ended.exit_code:
        yield cause(f"{called}: container {name} ended ({_exit(ended)}).", logs)
    elif last:
        yield clue(
            f"{called}: container {name} restarted {container.restarts} times ({_exit(last)}).",
            f"{logs} --previous",
        )
    elif name == "ray-head" and container.running and not container.ready:
        yield cause(f"{called} runs and is not ready yet: Ray inside does not answer.", logs)


def _exit(ended: Ended | None) -> str:
    return f"{ended.reason or 'ended'}, exit code {ended.exit_code}" if ended else "no exit code yet"


def _about_events(evidence: Evidence) -> Iterator[Finding]:
    said: set[str] = set()
    mine = {pod["metadata"]["name"] for pod in evidence.pods} | {evidence.cluster}
    for event in sorted(evidence.events, key=_at, reverse=True):
        about = event.get("involvedObject") or {}
        message = str(event.get("message") or "")
        belongs = about.get("name") in mine or str(about.get("name")).startswith(f"{evidence.cluster}-")
        if event.get("type") != "Warning" or not belongs or not _recent(event):
            continue
        finding = _quota(message, evidence.namespace or "")
        if finding is None and event.get("reason") in (
            "Evicted",
            "Preempted",
            "Preempting",
            "NodeNotReady",
            "OOMKilling",
        ):
            finding = cause(f"{about.get('kind')} {about.get('name')}: {event.get('reason')}: {message}", "")
        if finding is None and str(event.get("reason")).startswith(
            ("FailedTo", "FailedCreate", "FailedMount", "FailedAttach")
        ):
            finding = clue(
                f"{about.get('kind')} {about.get('name')}: {event.get('reason')}: {message}",
                f"kubectl describe {str(about.get('kind')).lower()} -n {evidence.namespace} {about.get('name')}",
            )
        if finding is not None and finding.text not in said:
            said.add(finding.text)
            yield finding


def _quota(message: str, namespace: str) -> Finding | None:
    match = _QUOTA.search(message)
    if match is None:
        return None
    return cause(
        f"The quota {match['name']} of namespace {namespace} does not allow another pod: it asks for {match['asked']}, "
        f"{match['used']} is used, the limit is {match['limit'].rstrip('.')}.",
        f"kubectl describe resourcequota -n {namespace} {match['name']}",
    )


def _about_quotas(quotas: Iterable[Raw], namespace: str) -> Iterator[Finding]:
    from .resources import quantity

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


def _at(event: Raw) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or "")


def _recent(event: Raw) -> bool:
    try:
        at = datetime.fromisoformat(_at(event).replace("Z", "+00:00"))
    except ValueError:
        return True
    return (datetime.now(timezone.utc) - at).total_seconds() < RECENT_SECONDS
