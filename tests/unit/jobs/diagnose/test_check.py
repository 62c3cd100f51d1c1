"""What `check` asks, and that it says which way it asked Ray: real clients, stand-ins for both servers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jobs.connection import Connection
from jobs.dashboard.client import RayJobsApi
from jobs.dashboard.http import HttpClient
from jobs.diagnose.check import _check_api, _check_pods
from jobs.diagnose.finding import Finding
from jobs.errors import Forbidden
from jobs.kubernetes.api import Kube
from jobs.target.contract import Cluster, Contract
from jobs.target.resolve import ClusterTarget
from tests.support.api_server import UID, VERSION, kubeconfig
from tests.support.http_server import JsonHandler, serve

NODES = [
    {"state": "ALIVE", "resources_total": {"CPU": 2.0}},
    {"state": "ALIVE", "resources_total": {"CPU": 4.0}},
    {"state": "DEAD", "resources_total": {"CPU": 64.0}},
]
HEAD = {
    "metadata": {"name": "ray-head", "namespace": "ns"},
    "spec": {"containers": [{"name": "ray-head"}, {"name": "autoscaler"}]},
    "status": {
        "phase": "Running",
        "conditions": [{"type": kind, "status": "True"} for kind in ("Ready", "ContainersReady")],
        "containerStatuses": [{"name": "ray-head", "ready": True}],
    },
}
KUBERNETES = {
    "/version": VERSION,
    "/api/v1/namespaces/kube-system": {"metadata": {"name": "kube-system", "uid": UID}},
    "/api/v1/namespaces/ns/services/ray-head-svc": {"spec": {"selector": {"ray.io/cluster": "ray"}}},
    "/api/v1/namespaces/ns/pods": {"items": [HEAD]},
    "/api/v1/namespaces/ns/pods/ray-head": HEAD,
}


def ray(nodes: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "/api/version": {"ray_version": "2.60.0", "version": "4"},
        "/api/jobs": [],
        "/api/v0/nodes": {"result": True, "data": {"result": {"result": nodes}}},
    }


@contextmanager
def server(answers: dict[str, Any], requests: list[str]) -> Iterator[str]:
    """Serves `answers` by path; 403 for the others, as Kubernetes answers where RBAC does not allow it."""

    class Handler(JsonHandler):
        def do_GET(self) -> None:
            path = self.path.split("?")[0].rstrip("/")
            requests.append(path)
            refusal = {"kind": "Status", "code": 403, "message": "forbidden"}
            self.answer(answers.get(path, refusal), 200 if path in answers else 403)

    with serve(Handler) as url:
        yield url


def target(path: str | None = None, ray_version: str = "2.60.0") -> ClusterTarget:
    cluster = Cluster("ray", "ns", "ray-head-svc", 8265, ray_version, None, None)
    contract = Contract("test", None, None, path, "test", UID, None, None, (cluster,))
    return ClusterTarget(contract, cluster, path, "test", {})


async def collect(findings: Any) -> list[Finding]:
    return [finding async for finding in findings]


def quiet(text: str) -> None:
    raise AssertionError(text)


def test_a_user_without_the_right_to_exec_gets_the_checks_of_kubernetes_without_an_error(tmp_path: Path) -> None:
    requests: list[str] = []
    with server(KUBERNETES, requests) as url:
        findings = asyncio.run(collect(_check_pods(target(str(kubeconfig(tmp_path, url))), quiet)))
    assert [finding.step for finding in findings] == ["context", "identity", "head"]
    assert requests[-1] == "/api/v1/namespaces/ns/pods/ray-head/exec"


def test_a_refused_exec_is_forbidden(tmp_path: Path) -> None:
    async def run(url: str) -> None:
        kube = await Kube.open(str(kubeconfig(tmp_path, url)), "test")
        try:
            await kube.execute("ns", "ray-head", "ray-head", ["true"], 10)
        finally:
            await kube.close()

    with server(KUBERNETES, []) as url, pytest.raises(Forbidden):
        asyncio.run(run(url))


def api_findings(
    nodes: list[dict[str, Any]],
    asked_inside: bool,
    where: Callable[[], ClusterTarget],
    jobs: list[dict[str, Any]] | None = None,
) -> list[Finding]:
    async def run(url: str) -> list[Finding]:
        http = HttpClient(url)
        try:
            connection = Connection(RayJobsApi(http), where(), url, "id")
            return await collect(_check_api(connection, asked_inside))
        finally:
            await http.close()

    with server({**ray(nodes), "/api/jobs": jobs or []}, []) as url:
        return asyncio.run(run(url))


def test_without_exec_ray_is_asked_through_its_api_and_the_line_says_so() -> None:
    findings = api_findings(NODES, False, target)
    assert [finding.step for finding in findings] == ["api", "token", "ray"]
    assert findings[-1].text.startswith("Ray 2.60.0, by its API, because")
    assert "pods/exec" in findings[-1].text
    assert findings[-1].text.endswith("2 nodes; CPU: 6")
    assert findings[-1].data == {"version": "2.60.0", "resources": {"CPU": 6.0}, "nodes": 2, "asked": "api"}


def test_the_api_gives_the_same_warnings_as_exec() -> None:
    findings = api_findings(NODES[:1], False, lambda: target(ray_version="2.59.0"))
    assert [(finding.kind, finding.step) for finding in findings[2:]] == [
        ("ok", "ray"),
        ("warning", "version"),
        ("warning", "workers"),
    ]


def test_ray_is_not_asked_twice() -> None:
    assert [finding.step for finding in api_findings(NODES, True, target)] == ["api", "token"]


def test_the_jobs_are_those_that_list_shows_without_the_driver_of_the_check() -> None:
    jobs = [
        {"submission_id": "a", "status": "SUCCEEDED", "type": "SUBMISSION"},
        {"submission_id": None, "job_id": "02000000", "status": "RUNNING", "type": "DRIVER"},
    ]
    token = api_findings(NODES, True, target, jobs=jobs)[1]
    assert token.text == "The token works. 1 job, none running."
