"""Whether jobs can run at a target, step by step; the first thing that is wrong is named, with what to do."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..connection import Connection, connect
from ..dashboard.http import json_of
from ..deadline import Deadline
from ..errors import JobsError, NotAllowed, Refused, Unreachable
from ..target.resolve import ClusterTarget, Target

if TYPE_CHECKING:
    from ..kubernetes.api import Kube

CONTAINER = "ray-head"
EXEC_SECONDS = 90.0
MARK = "rayjobs-check:"
# Connects to the Ray that runs in the pod, never starts another one beside it.
SCRIPT = f"""
import json, os, ray
ray.init(address=os.environ.get("RAY_ADDRESS") or "auto", logging_level="ERROR")
print({MARK!r} + json.dumps({{
    "address": ray.get_runtime_context().gcs_address, "version": ray.__version__,
    "resources": ray.cluster_resources(), "nodes": sum(node["Alive"] for node in ray.nodes()),
}}))
"""


@dataclass(frozen=True)
class Finding:
    """One step. `state`: ok, warning (jobs run, and something is worth knowing) or failed (they do not)."""

    step: str
    state: str
    text: str
    remedy: str = ""
    exit_code: int = 0
    data: dict[str, Any] | None = None


async def check(target: Target, note: Any = lambda _text: None) -> AsyncIterator[Finding]:
    """The steps as they are done; ends after the first that failed."""
    try:
        if isinstance(target, ClusterTarget):
            async for finding in _pod_steps(target, note):
                yield finding
        async with connect(target, note=note) as connection:
            async for finding in _api_steps(connection):
                yield finding
    except JobsError as error:
        yield Finding(_step_of(error), "failed", error.what, error.remedy, error.exit_code or 1)


class _Failed(JobsError):
    exit_code = Unreachable.exit_code

    def __init__(self, step: str, what: str, remedy: str) -> None:
        super().__init__(what, remedy)
        self.step = step


def _step_of(error: JobsError) -> str:
    if isinstance(error, _Failed):
        return error.step
    if isinstance(error, Refused):
        return "target"
    return "permission" if isinstance(error, NotAllowed) else "reach"


async def _pod_steps(target: ClusterTarget, note: Any) -> AsyncIterator[Finding]:
    from ..connection import verify_identity
    from ..kubernetes.api import Kube

    kube = await Kube.open(target.kubeconfig, target.context)
    try:
        yield Finding("context", "ok", f"{kube.where} answers.")
        await verify_identity(kube, target.contract.cluster_uid, note)
        yield Finding("identity", "ok", "It is the stack's cluster.")
        pod = await find_ready_head(kube, target)
        yield Finding("head", "ok", f"Head pod {pod} is ready.")
        found = await ask_ray(kube, target, pod)
        resources = ", ".join(f"{key}: {value:g}" for key, value in sorted(found["resources"].items()))
        yield Finding("ray", "ok", f"Ray {found['version']} at {found['address']}; {resources}", data=found)
        expected = target.cluster.ray_version
        if expected and expected != found["version"]:
            yield Finding(
                "version",
                "warning",
                f"The stack says Ray {expected}, the head runs {found['version']}.",
                "Were the pods replaced after the last `pulumi up`?",
            )
        if found["nodes"] < 2:
            yield Finding(
                "workers",
                "warning",
                "There is no worker node: tasks wait until the autoscaler has started one.",
                "With `minReplicas: 0` that is as it should be; otherwise look at the worker pods' events.",
            )
    finally:
        await kube.close()


async def find_ready_head(kube: Kube, target: ClusterTarget) -> str:
    """The ready head pod's name; _Failed with a message of its own for each thing that can be wrong."""
    from ..kubernetes.tunnel import head_pod, pod_state

    cluster = target.cluster
    name = await head_pod(kube, cluster.namespace, cluster.head_service, cluster.name)
    pod = await kube.get(f"pods/{name}", namespace=cluster.namespace)
    containers = [container["name"] for container in pod["spec"]["containers"]]
    if CONTAINER not in containers:
        raise _Failed(
            "container",
            f"Pod {name} has no container {CONTAINER!r}; it has: {', '.join(containers)}.",
            f"The head's first container must be called {CONTAINER}.",
        )
    states = {each["name"]: each for each in (pod.get("status") or {}).get("containerStatuses") or []}
    if not states.get(CONTAINER, {}).get("ready"):
        raise _Failed(
            "head",
            f"Head pod {name} is not ready: {pod_state(pod)}.",
            f"`kubectl describe pod -n {cluster.namespace} {name}` shows its events.",
        )
    return name


async def ask_ray(kube: Kube, target: ClusterTarget, pod: str) -> dict[str, Any]:
    """What Ray says of itself inside the head's container."""
    code, out, err = await kube.execute(
        target.cluster.namespace, pod, CONTAINER, ["python", "-c", SCRIPT], EXEC_SECONDS
    )
    for line in out.decode(errors="replace").splitlines():
        if line.startswith(MARK):
            return dict(json.loads(line[len(MARK) :]))
    said = [line for line in (out + err).decode(errors="replace").splitlines() if line.strip()]
    raise _Failed(
        "ray",
        f"Ray does not answer in pod {pod} (python ended with {code}): {said[-1] if said else 'no output'}",
        f"`kubectl logs -n {target.cluster.namespace} {pod} -c {CONTAINER}` shows why.",
    )


async def _api_steps(connection: Connection) -> AsyncIterator[Finding]:
    client, deadline = connection.client, Deadline(30.0)
    version = await client.version(deadline)
    yield Finding("api", "ok", f"The Jobs API answers (Ray {version['ray_version']}).", data={"version": version})
    jobs = await client.list(deadline)
    running = sum(not job.ended for job in jobs)
    yield Finding("token", "ok", f"It lets us in; {len(jobs)} jobs known, {running} of them not ended.")
    if not isinstance(connection.target, ClusterTarget):
        yield await _nodes(connection, deadline)


async def _nodes(connection: Connection, deadline: Deadline) -> Finding:
    """For a URL there is no container to ask: the dashboard's list of nodes instead."""
    http = connection.client.http

    def parse(response: Any) -> list[dict[str, Any]]:
        return list(json_of(response, http.where)["data"]["result"]["result"])

    nodes = [
        node
        for node in await http.ask("GET", "/api/v0/nodes?detail=true", deadline=deadline, parse=parse)
        if node.get("state") == "ALIVE"
    ]
    total: dict[str, float] = {}
    for node in nodes:
        for name, amount in (node.get("resources_total") or {}).items():
            total[name] = total.get(name, 0) + amount
    resources = ", ".join(f"{key}: {value:g}" for key, value in sorted(total.items()))
    return Finding("ray", "ok", f"{len(nodes)} nodes; {resources}", data={"resources": total, "nodes": len(nodes)})
