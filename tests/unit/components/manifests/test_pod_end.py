"""The end of a pod: Ray ends at once if nothing runs, and otherwise has the pod's whole grace period."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.manifests import pod_end
from ops.engine import ROOT

LONG = 1.5  # seconds in which a hook that does not wait would have ended Ray
DASHBOARD = """
import json, pathlib, sys
from http.server import ThreadingHTTPServer
from tests.support.http_server import JsonHandler
class Dashboard(JsonHandler):
    def do_GET(self):
        name = "jobs" if self.path == "/api/jobs/" else "actors"
        allowed = self.headers["Authorization"] == "Bearer secret"
        self.answer(*((json.loads(pathlib.Path(sys.argv[1], name).read_text()), 200) if allowed else ({}, 401)))
ThreadingHTTPServer(("127.0.0.1", 8265), Dashboard).serve_forever()
"""
LISTENER = "import socket, time; s = socket.create_server(('127.0.0.1', 6379)); time.sleep(4)"
needs_namespaces = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("ip"),
    reason="namespaces of processes and network need root, `unshare` and `ip`",
)
pytestmark = needs_namespaces


class Pod:
    """Processes that see only each other, as in a container; their network is their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        command = ["unshare", "--pid", "--net", "--mount-proc", "--fork", "--kill-child"]
        self.init = subprocess.Popen(
            [*command, "sh", "-c", "ip link set lo up; echo; sleep 600"], stdout=subprocess.PIPE, text=True
        )
        assert self.init.stdout is not None
        self.init.stdout.readline()
        children = Path(f"/proc/{self.init.pid}/task/{self.init.pid}/children").read_text().split()
        self._enter = ["nsenter", "-t", children[0], "--pid", "--net", "--mount"]

    def start(self, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*self._enter, *command], env={**os.environ, "PYTHONPATH": str(ROOT), **environment})

    def program(self, name: str) -> subprocess.Popen[bytes]:
        """A process with the name of one of Ray's."""
        (self.folder / name).symlink_to(shutil.which("sleep") or "/bin/sleep")
        return self.start(str(self.folder / name), "600")

    def hook(self, lifecycle: dict[str, Any], **environment: str) -> subprocess.Popen[bytes]:
        _python, *arguments = lifecycle["preStop"]["exec"]["command"]
        return self.start(sys.executable, *arguments, **environment)


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Pod]:
    pod = Pod(tmp_path)
    yield pod
    pod.init.kill()
    pod.init.wait()


def ends(process: subprocess.Popen[bytes]) -> bool:
    """Whether the process ends now; False: it runs on."""
    try:
        process.wait(LONG)
    except subprocess.TimeoutExpired:
        return False
    return True


def dashboard(pod: Pod, *, jobs: list[str], actors: int = 0) -> None:
    listed = {"data": {"result": {"result": [{"state": "ALIVE"}] * actors}}}
    (pod.folder / "jobs").write_text(json.dumps([{"status": status} for status in jobs]))
    (pod.folder / "actors").write_text(json.dumps(listed))


def test_a_head_without_work_ends_at_once(pod: Pod) -> None:
    dashboard(pod, jobs=["SUCCEEDED", "FAILED", "STOPPED"])
    pod.start(sys.executable, "-c", DASHBOARD, str(pod.folder))
    gcs = pod.program("gcs_server")
    pod.hook(pod_end.head(), RAY_AUTH_TOKEN="secret")
    gcs.wait(20)


@pytest.mark.parametrize("work", [{"jobs": ["RUNNING"]}, {"jobs": ["PENDING"]}, {"jobs": [], "actors": 1}], ids=str)
def test_a_head_waits_for_jobs_and_actors(pod: Pod, work: dict[str, Any]) -> None:
    dashboard(pod, **work)
    pod.start(sys.executable, "-c", DASHBOARD, str(pod.folder))
    gcs = pod.program("gcs_server")
    hook = pod.hook(pod_end.head(), RAY_AUTH_TOKEN="secret")
    assert not ends(hook)
    assert gcs.poll() is None
    dashboard(pod, jobs=["SUCCEEDED"])
    gcs.wait(20)


@pytest.mark.parametrize("answers", [True, False], ids=["another token", "no dashboard"])
def test_a_head_that_does_not_say_what_runs_has_its_grace_period(pod: Pod, answers: bool) -> None:
    dashboard(pod, jobs=[])
    if answers:
        pod.start(sys.executable, "-c", DASHBOARD, str(pod.folder))
    gcs = pod.program("gcs_server")
    assert not ends(pod.hook(pod_end.head(), RAY_AUTH_TOKEN="wrong"))
    assert gcs.poll() is None


def test_a_worker_keeps_its_objects_while_there_is_a_head(pod: Pod) -> None:
    head = pod.start(sys.executable, "-c", LISTENER)
    raylet = pod.program("raylet")
    assert not ends(pod.hook(pod_end.worker(), FQ_RAY_IP="127.0.0.1"))
    assert raylet.poll() is None
    head.wait(20)
    raylet.wait(20)


def test_a_worker_without_a_head_waits_for_its_tasks(pod: Pod) -> None:
    raylet = pod.program("raylet")
    for title in ("ray::IDLE", "ray::DashboardAgent", "ray::RuntimeEnvAgent"):
        pod.start("bash", "-c", f"exec -a {title} sleep 600")
    task = pod.start("bash", "-c", "exec -a 'ray::train()' sleep 3")
    hook = pod.hook(pod_end.worker(), FQ_RAY_IP="127.0.0.1")
    assert not ends(hook)
    assert raylet.poll() is None
    task.wait(20)
    raylet.wait(20)
