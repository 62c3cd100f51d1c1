"""Checks whether jobs can run at a target, step by step until the first problem."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

from ..connection import Connection, open_connection, open_kube, verify_identity
from ..dashboard.state_api import query_state
from ..deadline import Deadline
from ..errors import EXIT_FAILED, Forbidden, JobsError, NotAllowed, Refused, Unreachable, number_of
from ..target.resolve import ClusterTarget, Target
from .finding import FAILED, OK, WARNING, Finding

if TYPE_CHECKING:
    from ..kubernetes.api import Kube

CONTAINER = "ray-head"
RAY_STEP = "ray"
EXEC_SECONDS = 90.0
MARK = "rayjobs-check:"
# Connects to the Ray of the pod; it never starts a second one.
SCRIPT = f"""
import json, os, ray
ray.init(address=os.environ.get("RAY_ADDRESS") or "auto", logging_level="ERROR")
print({MARK!r} + json.dumps({{
    "address": ray.get_runtime_context().gcs_address, "version": ray.__version__,
    "resources": ray.cluster_resources(), "nodes": sum(node["Alive"] for node in ray.nodes()),
}}))
"""


async def check(target: Target, notify: Callable[[str], None] = lambda _text: None) -> AsyncIterator[Finding]:
    """Yields a finding for each step as it is done, and ends after the first that failed."""
    asked_inside = False
    notify = _each_text_once(notify)
    try:
        if isinstance(target, ClusterTarget):
            async for finding in _check_pods(target, notify):
                asked_inside |= finding.step == RAY_STEP
                yield finding
        async with open_connection(target, notify=notify) as connection:
            async for finding in _check_api(connection, asked_inside):
                yield finding
    except JobsError as error:
        yield Finding(FAILED, error.message, error.remedy, _step_of(error), error.exit_code or EXIT_FAILED)


def _each_text_once(notify: Callable[[str], None]) -> Callable[[str], None]:
    """The target is opened twice, for its pods and for its API."""
    notified: set[str] = set()

    def notify_once(text: str) -> None:
        if text not in notified:
            notified.add(text)
            notify(text)

    return notify_once


class _StepFailed(JobsError):
    exit_code = Unreachable.exit_code

    def __init__(self, step: str, message: str, remedy: str) -> None:
        super().__init__(message, remedy)
        self.step = step


def _step_of(error: JobsError) -> str:
    if isinstance(error, _StepFailed):
        return error.step
    if isinstance(error, Refused):
        return "target"
    return "permission" if isinstance(error, NotAllowed) else "reach"


def _ok(step: str, text: str, data: dict[str, Any] | None = None) -> Finding:
    return Finding(OK, text, step=step, data=data)


async def _check_pods(target: ClusterTarget, notify: Callable[[str], None]) -> AsyncIterator[Finding]:
    kube = await open_kube(target, notify)
    try:
        yield _ok("context", f"{kube.where} answers.")
        if await verify_identity(kube, target.contract.cluster_uid, notify):
            yield _ok("identity", "This is the stack's cluster.")
        pod = await find_ready_head(kube, target)
        yield _ok("head", f"The head pod {pod} is ready.")
        try:
            ray = await read_ray(kube, target, pod)
        except Forbidden:
            return  # the least Role has no `pods/exec`: Ray is asked through its API
        text = f"Ray {ray['version']} at {ray['address']}, by `ray.init()` in the container {CONTAINER}"
        yield _ok(RAY_STEP, f"{text}; {_resources(ray['resources'])}", {**ray, "asked": "exec"})
        for warning in _cluster_warnings(target, ray["version"], ray["nodes"]):
            yield warning
    finally:
        await kube.close()


def _cluster_warnings(target: ClusterTarget, version: str, nodes: int) -> Iterator[Finding]:
    expected = target.cluster.ray_version
    if expected and expected != version:
        yield Finding(
            WARNING,
            f"The stack has Ray {expected}, the head runs {version}.",
            "Were the pods replaced after the last `pulumi up`?",
            "version",
        )
    if nodes < 2:
        yield Finding(
            WARNING,
            "There is no worker node. Tasks wait until the autoscaler has started one.",
            "This is normal with `minReplicas: 0`. Otherwise look at the events of the worker pods.",
            "workers",
        )


def _resources(amounts: dict[str, float]) -> str:
    return ", ".join(f"{name}: {amount:g}" for name, amount in sorted(amounts.items()))


async def find_ready_head(kube: Kube, target: ClusterTarget) -> str:
    """Finds the ready head pod and returns its name. Raises an error with its own message for each problem."""
    from ..kubernetes.tunnel import head_pod, pod_state

    cluster = target.cluster
    name = await head_pod(kube, cluster.namespace, cluster.head_service, cluster.name)
    pod = await kube.get("pods", name, namespace=cluster.namespace)
    containers = [container["name"] for container in pod["spec"]["containers"]]
    if CONTAINER not in containers:
        raise _StepFailed(
            "container",
            f"Pod {name} has no container {CONTAINER!r}; it has: {', '.join(containers)}.",
            f"Name the head's first container {CONTAINER}.",
        )
    statuses = {status["name"]: status for status in (pod.get("status") or {}).get("containerStatuses") or []}
    if not statuses.get(CONTAINER, {}).get("ready"):
        raise _StepFailed(
            "head",
            f"The head pod {name} is not ready: {pod_state(pod)}.",
            f"`kubectl describe pod -n {cluster.namespace} {name}` shows its events.",
        )
    return name


async def read_ray(kube: Kube, target: ClusterTarget, pod: str) -> dict[str, Any]:
    """Reads address, version, resources and number of nodes from Ray itself, inside the head's container."""
    namespace = target.cluster.namespace
    code, out, err = await kube.execute(namespace, pod, CONTAINER, ["python", "-c", SCRIPT], EXEC_SECONDS)
    for line in out.decode(errors="replace").splitlines():
        if line.startswith(MARK):
            with contextlib.suppress(ValueError, TypeError, RecursionError):
                return _read_answer(json.loads(line[len(MARK) :]))
    output = [line for line in (out + err).decode(errors="replace").splitlines() if line.strip()]
    raise _StepFailed(
        "ray",
        f"Ray does not answer in pod {pod} (python exited with {code}): {output[-1] if output else 'no output'}",
        f"`kubectl logs -n {namespace} {pod} -c {CONTAINER}` shows why.",
    )


def _read_answer(answer: Any) -> dict[str, Any]:
    """Reads the answer of SCRIPT. Raises TypeError for anything else: a job can change the Python of the head."""
    if not isinstance(answer, dict) or not isinstance(answer.get("resources"), dict):
        raise TypeError
    amounts, nodes = answer["resources"], answer.get("nodes")
    if not all(isinstance(value, int | float) for value in (nodes, *amounts.values())):
        raise TypeError
    texts = {key: str(answer.get(key)) for key in ("address", "version")}
    return {**texts, "resources": amounts, "nodes": nodes}


async def _check_api(connection: Connection, asked_inside: bool) -> AsyncIterator[Finding]:
    client, target, deadline = connection.client, connection.target, Deadline(30.0)
    answer = await client.version(deadline)
    version = answer["ray_version"]
    proxy = f" through the proxy {connection.proxy}" if connection.proxy else ""
    yield _ok("api", f"The Jobs API answers{proxy} (Ray {version}).", {"version": answer, "proxy": connection.proxy})
    # The check inside the head is a driver itself.
    jobs = [job for job in await client.list_jobs(deadline) if not job.is_driver]
    active = sum(not job.ended for job in jobs)
    running = f"{active} running or pending" if active else "none running"
    yield _ok("token", f"The token works. {number_of(len(jobs), 'job')}, {running}.")
    if asked_inside:
        return
    nodes = [
        node for node in await query_state(client.http, "nodes", deadline=deadline) if node.get("state") == "ALIVE"
    ]
    resources = _total(nodes)
    text = f"{number_of(len(nodes), 'node')}; {_resources(resources)}"
    data = {"resources": resources, "nodes": len(nodes)}
    if not isinstance(target, ClusterTarget):
        yield _ok(RAY_STEP, text, data)
        return
    way = f"by its API, because you have no right to run `ray.init()` in the container {CONTAINER} (pods/exec)"
    yield _ok(RAY_STEP, f"Ray {version}, {way}; {text}", {"version": version, **data, "asked": "api"})
    for warning in _cluster_warnings(target, version, len(nodes)):
        yield warning


def _total(nodes: list[dict[str, Any]]) -> dict[str, float]:
    """Adds up the resources of all nodes."""
    total: dict[str, float] = {}
    for node in nodes:
        for name, amount in (node.get("resources_total") or {}).items():
            total[name] = total.get(name, 0) + amount
    return total
