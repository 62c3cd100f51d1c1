"""The keeper as its pod runs it: with the arguments, the environment, the outputs and the rights of the manifests, and
with a root that is read-only. Kubernetes and Ray are stand-ins.
"""

from __future__ import annotations

import base64
import os
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from components.manifests import keeper
from components.manifests.contract import contract
from components.settings import Settings, parse
from components.settings.keeper import PORT
from tests.support import fake_ray as stand_in
from tests.support.http_server import JsonHandler, running
from tests.support.tls import make_ca

ROOT = Path(__file__).resolve().parents[3]
# What a node does for a pod, in a mount namespace of its own; nothing is created outside of $POD. The root is the last
# mount, and the capabilities go with the program.
POD = """
set -e
mount --bind "$POD/data" "$POD/data"
mount --bind "$POD/hosts" /etc/hosts
mount -t tmpfs -o size=64m tmpfs "$HOME"
mount -t tmpfs tmpfs /var/run
mkdir -p /var/run/secrets/kubernetes.io
cp -r "$POD/account" /var/run/secrets/kubernetes.io/serviceaccount
mount -o remount,bind,ro /
cd "$HOME"
exec setpriv --bounding-set=-all --inh-caps=-all --no-new-privs -- "$@"
"""


def lacks() -> str:
    """Why this machine cannot run a process as a pod; empty: it can."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "it needs root on Linux"
    done = subprocess.run(
        ["unshare", "--mount", "mount", "-o", "remount,bind,ro", "/"], capture_output=True, check=False
    )
    return "" if done.returncode == 0 else f"unshare: {done.stderr.decode().strip()}"


pytestmark = pytest.mark.skipif(bool(lacks()), reason=lacks())


class Kubernetes:
    """An API server that gives one ServiceAccount the rights of a Role, and remembers what it refused."""

    def __init__(self, role: dict[str, Any], objects: dict[str, Any]) -> None:
        self.rules, self.objects = role["rules"], objects
        self.refused: list[str] = []

    def answer(self, path: str, authorization: str | None) -> tuple[Any, int]:
        if path.strip("/") == "version":
            return {"major": "1", "minor": "34", "gitVersion": "v1.34.4"}, 200
        if authorization != "Bearer of-the-account" or not self._allows(path):
            self.refused.append(path)
            return {"kind": "Status", "code": 403, "message": f"no right: {path}"}, 403
        return self.objects.get(path, {"items": []}), 200

    def _allows(self, path: str) -> bool:
        core, *parts = path.strip("/").split("/")
        group, parts = ("", parts[1:]) if core == "api" else (parts[0], parts[2:])
        _, _, resource, *name = parts
        verb = "get" if name else "list"
        return any(
            group in rule["apiGroups"]
            and resource in rule["resources"]
            and verb in rule["verbs"]
            and name == rule.get("resourceNames", name)
            for rule in self.rules
        )


class Pod:
    """The keeper's process. `ray` is the cluster, `kubernetes` the API server, `token` that of the cluster."""

    def __init__(self, folder: Path, wanted: Settings, resources: ExitStack) -> None:
        cluster = wanted.clusters[0]
        outputs = contract(wanted, project="p", stack="dev", context="laptop", cluster_uid="6d3c")
        *others, deployment = keeper.objects(cluster, wanted.monitoring, outputs)
        (role,) = (each for each in others if each["kind"] == "Role")
        template = deployment["spec"]["template"]
        (self.container,) = template["spec"]["containers"]
        self.ray = resources.enter_context(stand_in.fake_ray())
        self.namespace = f"/api/v1/namespaces/{cluster.namespace}"
        self.secret = f"{self.namespace}/secrets/{cluster.auth_secret}"
        pod = {"metadata": {"name": "head"}, "status": {"phase": "Running", "podIP": "127.0.0.1"}}
        ray = {"metadata": {"name": cluster.name}, "spec": {"headGroupSpec": {}}, "status": {"state": "ready"}}
        place = f"/apis/ray.io/v1/namespaces/{cluster.namespace}/rayclusters/{cluster.name}"
        self.kubernetes = Kubernetes(role, {f"{self.namespace}/pods": {"items": [pod]}, place: ray})
        if cluster.auth_secret:
            self.set_token("one")
        for name in ("data", "outputs", "account"):
            (folder / name).mkdir()
        ca, server = make_ca(folder)
        self.port = resources.enter_context(running(self._api_server(server))).server_port
        (folder / "account/token").write_text("of-the-account")
        (folder / "account/namespace").write_text(cluster.namespace)
        (folder / "account/ca.crt").write_bytes(ca.read_bytes())
        # The head has another port here.
        text = template["metadata"]["annotations"][keeper.OUTPUTS_ANNOTATION]
        (folder / "outputs/outputs.json").write_text(text.replace("8265", self.ray.url.rpartition(":")[2]))
        (folder / "hosts").write_text(f"127.0.0.1 localhost {cluster.head_service}.{cluster.namespace}.svc\n")
        self.folder, self.url = folder, ""

    def set_token(self, token: str) -> None:
        self.token = self.ray.token = token
        self.kubernetes.objects[self.secret] = {"data": {"auth_token": base64.b64encode(token.encode()).decode()}}

    def _api_server(self, server_pem: Path) -> ThreadingHTTPServer:
        kubernetes = self.kubernetes

        class Handler(JsonHandler):
            def do_GET(self) -> None:
                self.answer(*kubernetes.answer(self.path.partition("?")[0], self.headers.get("Authorization")))

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(server_pem)
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        return server

    def command(self) -> list[str]:
        """The program with the arguments of the container, but with a folder and a free port of this machine."""
        own = {keeper.DATA: str(self.folder / "data"), f"0.0.0.0:{PORT}": "127.0.0.1:0"}
        arguments = [own.get(word, word) for word in self.container["args"]]
        return ["unshare", "--mount", "sh", "-c", POD, "pod", sys.executable, "-m", "jobs", *arguments]

    def environment(self) -> dict[str, str]:
        outputs = str(self.folder / "outputs")
        own = {each["name"]: each["value"].replace(keeper.OUTPUTS, outputs) for each in self.container["env"]}
        api_server = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(self.port)}
        python = {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "PYTHONDONTWRITEBYTECODE": "1"}
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        return {"PATH": os.environ["PATH"], "POD": str(self.folder), **own, **api_server, **python, "HOME": str(home)}

    def get(self, path: str, token: str | None = None) -> httpx.Response:
        headers = {"Host": "localhost"} | ({"Authorization": f"Bearer {token}"} if token else {})
        return httpx.get(self.url + path, headers=headers, timeout=10)


@pytest.fixture
def resources() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def pod_of(tmp_path: Path, resources: ExitStack, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Pod]:
    """Starts the keeper of a RayCluster with these settings, whose Ray has a job that ended."""
    monkeypatch.setattr(stand_in, "START", int(time.time() * 1000) - 60_000)  # not older than what is kept

    def start(**cluster: Any) -> Pod:
        image = {"image": "registry.example.com/rayjobs:0.1.0"}
        pod = Pod(tmp_path, parse({"clusters": [{"keeper": image, **cluster}]}), resources)
        pod.ray.add("ended", "SUCCEEDED", log=b"hello\n" * 100)
        process = subprocess.Popen(
            pod.command(), cwd=ROOT, env=pod.environment(), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        resources.callback(process.wait)
        resources.callback(process.terminate)
        assert process.stderr is not None
        lines: list[str] = []
        while not lines or not lines[-1].startswith("Listening at "):
            lines.append(process.stderr.readline())
            assert lines[-1], "".join(lines)
        pod.url = lines[-1].split()[2].rstrip(".")
        # What it says later has to be read.
        threading.Thread(target=process.stderr.read, daemon=True).start()
        return pod

    return start


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_it_keeps_with_the_rights_of_its_role_and_needs_no_other(pod_of: Callable[..., Pod]) -> None:
    pod = pod_of()
    assert pod.get("/livez").status_code == 200
    until(lambda: pod.get("/healthz").status_code == 200)
    assert pod.get("/v1/jobs").status_code == 401
    until(lambda: pod.get("/v1/jobs/ended/log", pod.token).content == b"hello\n" * 100)
    # The same place as for a laptop with the stack's outputs.
    assert pod.get("/v1/jobs/ended", pod.token).json()["identity"] == "6d3c/ray-cluster/raycluster-autoscaler"
    pod.ray.add("failed", "FAILED", log=b"boom\n", driver_exit_code=1)
    until(lambda: pod.get("/v1/jobs/failed", pod.token).json().get("why"))
    findings = pod.get("/v1/jobs/failed", pod.token).json()["why"]["findings"]
    assert "python -m jobs logs failed" in [finding["remedy"] for finding in findings]  # no path of the pod
    assert pod.kubernetes.refused == []


def test_another_token_in_the_secret_is_known_without_a_restart(pod_of: Callable[..., Pod]) -> None:
    pod = pod_of()
    pod.set_token("two")
    pod.ray.add("later", "SUCCEEDED", log=b"after\n")
    until(lambda: pod.get("/v1/jobs/later/log", "two").content == b"after\n")
    assert pod.get("/v1/jobs", "one").status_code == 401


def test_the_jobs_of_a_cluster_without_a_token_are_for_everyone_who_reaches_the_pod(pod_of: Callable[..., Pod]) -> None:
    pod = pod_of(auth="disabled")
    until(lambda: pod.get("/v1/jobs/ended/log").content == b"hello\n" * 100)
    assert pod.kubernetes.refused == []
