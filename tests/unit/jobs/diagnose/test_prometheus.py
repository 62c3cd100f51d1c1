"""How `why` reaches a Prometheus, and what it says if that does not answer: real HTTP, also through a port-forward."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from jobs.diagnose import prometheus
from jobs.diagnose.evidence import Evidence, gather
from jobs.diagnose.finding import Finding
from jobs.diagnose.why import explain
from jobs.errors import Unreachable
from jobs.kubernetes.api import Kube
from jobs.kubernetes.services import ServiceAddress, service_of
from jobs.target.options import TargetOptions
from jobs.target.resolve import UrlTarget
from tests.support.api_server import UID, api_server
from tests.support.http_server import JsonHandler, running
from tests.support.outputs import cluster_of, contract, write
from tests.support.tls import TlsProxy, make_ca

LABELS = {"alertname": "RayHeadDown", "ray_io_cluster": "ray-0", "namespace": "ray-cluster", "severity": "critical"}
FIRING = {"labels": LABELS, "annotations": {"summary": "down"}, "state": "firing", "activeAt": ""}
ANSWER = {"status": "success", "data": {"alerts": [FIRING]}}
SERVICE_URL = "http://prometheus.monitoring:9090"
FOLDER = "/api/v1/namespaces/monitoring"


@pytest.fixture(autouse=True)
def enough_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that runs many tests at once may need more than the 3 s of the command."""
    monkeypatch.setattr(prometheus, "SECONDS", 60.0)


@dataclass
class Asked:
    """A running stand-in for Prometheus: its port, and the requests it got (path and host)."""

    port: int
    requests: list[tuple[str, str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def answering(content: Any = ANSWER, status: int = 200, headers: Mapping[str, str] | None = None) -> Iterator[Asked]:
    """Serves one answer; a text is sent as it is."""
    asked = Asked(0)

    class Handler(JsonHandler):
        def do_GET(self) -> None:
            asked.requests.append((self.path, self.headers["Host"]))
            assert "Authorization" not in self.headers
            data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    with running(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        asked.port = server.server_port
        yield asked


@contextmanager
def silent() -> Iterator[int]:
    """Yields a port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def of_address(url: str) -> list[Finding]:
    """What `why --address` finds with this Prometheus, at a Ray that refuses the user."""
    with answering("", 401) as ray:
        return _alerts(asyncio.run(gather(UrlTarget(ray.url, None, {}, True), None, prometheus=url)))


def _alerts(evidence: Evidence) -> list[Finding]:
    """The alerts, and the note that they could not be read."""
    findings = explain(evidence)
    return [each for each in findings if each.kind == "alert" or each.text.startswith("alerts: ")]


def test_the_alerts_of_a_url_are_asked_for_once_below_its_path() -> None:
    with answering() as asked:
        found = of_address(f"{asked.url}/prometheus/")
    assert [each.text for each in found] == ["RayHeadDown (critical) of ray-cluster/ray-0: down."]
    assert asked.requests == [("/prometheus/api/v1/alerts", f"127.0.0.1:{asked.port}")]


@pytest.mark.parametrize(
    ("status", "content", "headers", "reason", "remedy"),
    [
        (401, "no", {}, "requires a login (HTTP 401)", "--prometheus URL names another address that needs none."),
        (403, ANSWER, {}, "requires a login (HTTP 403)", "that needs none"),
        (302, "", {"Location": "https://sso/?x=hunter2"}, "redirects, perhaps to a login (HTTP 302)", "--prometheus"),
        (404, "404 page not found", {}, "does not answer as a Prometheus (HTTP 404)", "before /api/v1"),
        (200, "<html>Grafana</html>", {"Content-Type": "text/html"}, "does not answer as a Prometheus", "Check host"),
        (200, "[" * 100_000, {}, "does not answer as a Prometheus", "Check host"),
        (200, "[]", {}, "does not answer as a Prometheus", "Check host"),
        (404, {"kind": "Status", "status": "Failure"}, {}, "does not answer as a Prometheus", "Check host"),
        (200, {"status": "success"}, {}, "does not have the form of Prometheus' alerts", ""),
        (200, {"status": "success", "data": {"alerts": 5}}, {}, "does not have the form", ""),
        (503, {"status": "error", "error": "not\x1b ready"}, {}, "answered HTTP 503: not\\x1b ready", ""),
        (200, ANSWER, {"Content-Encoding": "gzip"}, "compressed its answer", ""),
    ],
    ids=[
        "401",
        "403",
        "a login page",
        "404",
        "a web page",
        "too deep",
        "a list",
        "an API server",
        "no data",
        "no list",
        "its own error",
        "compressed",
    ],
)
def test_an_answer_without_alerts_is_one_note(
    status: int, content: Any, headers: dict[str, str], reason: str, remedy: str
) -> None:
    with answering(content, status, headers) as asked:
        [note] = of_address(asked.url)
    assert (note.kind, reason in note.text, remedy in note.remedy) == ("unread", True, True), note
    assert asked.url in note.text
    assert "hunter2" not in str(note)
    assert len(asked.requests) == 1


@pytest.mark.parametrize(
    ("url", "reason", "remedy"),
    [
        ("http://127.0.0.1:9", "Could not connect to http://127.0.0.1:9: nothing listens there", "Does it run"),
        ("http://prometheus.not-there:9", "the host name does not resolve", "known in the cluster only"),
        ("http://1.2.3.400", "http://1.2.3.400 is no address: Invalid IPv4 address", "--prometheus URL"),
        ("http://xn--a", "http://xn--a is no address: Codepoint U+0080", "--prometheus URL"),
    ],
)
def test_a_prometheus_that_cannot_be_reached_is_one_note(url: str, reason: str, remedy: str) -> None:
    [note] = of_address(url)
    assert (note.kind, reason in note.text, remedy in note.remedy) == ("unread", True, True), note


def test_a_proxy_of_the_environment_is_used_and_named_if_it_answers_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "http://prometheus.example.com:9090"
    with answering() as asked:
        monkeypatch.setenv("HTTP_PROXY", asked.url)
        assert [each.kind for each in of_address(url)] == ["alert"]
        assert [path for path, _host in asked.requests] == [f"{url}/api/v1/alerts"]
    with answering("no such host", 404) as asked:
        monkeypatch.setenv("HTTP_PROXY", asked.url)
        [note] = of_address(url)
    assert f"{url}, through the proxy {asked.url} (HTTP_PROXY), does not answer as a Prometheus" in note.text


def test_a_prometheus_that_is_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "SECONDS", 0.2)
    with silent() as port:
        [note] = of_address(f"http://127.0.0.1:{port}")
    assert note.text == f"alerts: http://127.0.0.1:{port} did not answer within 0 s."
    assert note.remedy.startswith("Does it run, and is a VPN needed?")


def test_a_certificate_is_verified_and_the_note_says_how_to_trust_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca, certificate = make_ca(tmp_path)
    with answering() as asked, TlsProxy(certificate, "127.0.0.1", asked.port) as tls:
        [note] = of_address(tls.url)
        assert "CERTIFICATE_VERIFY_FAILED" in note.text
        assert note.remedy.startswith("Name the file of its CA in SSL_CERT_FILE.")
        assert asked.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", str(ca))
        assert [each.kind for each in of_address(tls.url)] == ["alert"]


@pytest.mark.parametrize(
    ("url", "service"),
    [
        ("http://prometheus.monitoring:9090", ServiceAddress("prometheus", "monitoring", 9090)),
        ("http://prometheus.monitoring.svc", ServiceAddress("prometheus", "monitoring", 80)),
        ("https://prometheus.monitoring.svc.cluster.local/x", ServiceAddress("prometheus", "monitoring", 443)),
        ("http://prometheus:9090", None),
        ("http://prometheus.example.com", None),
        ("http://prometheus.monitoring.svc.example.com", None),
        ("http://prometheus.monitoring.", None),
        ("http://prometheus.localhost:9090", None),
        ("http://10.0.0.1:9090", None),
        ("http://[fd00::1]:9090", None),
    ],
)
def test_a_host_of_two_names_is_a_service_of_the_cluster(url: str, service: ServiceAddress | None) -> None:
    assert service_of(url) == service


def pod(name: str, *, ready: bool = True, phase: str = "Running") -> dict[str, Any]:
    ports = [{"name": "web", "containerPort": 9191}]
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    spec = {"containers": [{"name": "config-reloader"}, {"name": "prometheus", "ports": ports}]}
    return {"metadata": {"name": name}, "spec": spec, "status": {"phase": phase, "conditions": conditions}}


def service(**spec: Any) -> dict[str, Any]:
    ports = [{"port": 80, "targetPort": 8080}, {"port": 9090, "targetPort": "web"}]
    return {"spec": {"selector": {"app": "prometheus"}, "clusterIP": "10.0.0.1", "ports": ports, **spec}}


def of_cluster(
    folder: Path, objects: dict[str, Any], forwards: dict[str, int] | None = None, url: str | None = SERVICE_URL
) -> list[Finding]:
    """What `why` finds at the cluster ray-0 of a stack that names this Prometheus."""
    outputs = write(folder / "outputs.json", contract(prometheus=url, clusterUid=UID, kubeContext="test"))
    with api_server(folder, objects, forwards=forwards) as config:
        target = cluster_of(TargetOptions(outputs=str(outputs), kubeconfig=str(config)), {}, folder)
        return _alerts(asyncio.run(gather(target, None)))


def test_a_service_of_the_cluster_is_reached_through_a_port_forward_to_a_ready_pod(tmp_path: Path) -> None:
    pods = {"items": [pod("prometheus-0", ready=False), pod("prometheus-1"), pod("old", phase="Failed")]}
    objects = {f"{FOLDER}/services/prometheus": service(), f"{FOLDER}/pods": pods}
    with answering() as asked:
        forwards = {f"{FOLDER}/pods/prometheus-1/portforward?ports=9191": asked.port}
        found = of_cluster(tmp_path, objects, forwards, f"{SERVICE_URL}/prometheus")
    assert [(each.kind, each.text) for each in found] == [("alert", "RayHeadDown (critical): down.")]
    assert asked.requests == [("/prometheus/api/v1/alerts", urlsplit(SERVICE_URL).netloc)]


def test_through_the_port_forward_the_certificate_is_verified_for_the_name_of_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca, certificate = make_ca(tmp_path, "prometheus.monitoring")
    monkeypatch.setenv("SSL_CERT_FILE", str(ca))
    objects = {f"{FOLDER}/pods": {"items": [pod("p")]}}
    objects |= {f"{FOLDER}/services/{name}": service() for name in ("prometheus", "other")}
    with answering() as asked, TlsProxy(certificate, "127.0.0.1", asked.port) as tls:
        forwards = {f"{FOLDER}/pods/p/portforward?ports=9191": urlsplit(tls.url).port or 0}
        found = of_cluster(tmp_path, objects, forwards, "https://prometheus.monitoring:9090")
        [note] = of_cluster(tmp_path, objects, forwards, "https://other.monitoring:9090")
    assert [each.kind for each in found] == ["alert"]
    assert "CERTIFICATE_VERIFY_FAILED" in note.text


def test_within_a_pod_of_the_cluster_a_service_is_asked_directly() -> None:
    kube = Kube(None, "the Kubernetes API (service account)", in_pod=True)
    with pytest.raises(Unreachable, match="the host name does not resolve") as caught:
        asyncio.run(prometheus.read_alerts("http://prometheus.not-there:9090", kube))
    assert caught.value.remedy == "kubectl get services,pods -n not-there"


@pytest.mark.parametrize(
    ("spec", "port"),
    [
        ({"ports": [{"port": 9090}]}, 9090),
        ({"ports": [{"port": 9090, "targetPort": 9000}]}, 9000),
        ({"ports": [{"port": 9090, "targetPort": 9000}], "clusterIP": "None"}, 9090),
    ],
    ids=["no targetPort", "a number", "headless"],
)
def test_the_port_of_the_pod_is_the_one_that_kubernetes_takes(tmp_path: Path, spec: dict[str, Any], port: int) -> None:
    objects = {f"{FOLDER}/services/prometheus": service(**spec), f"{FOLDER}/pods": {"items": [pod("p")]}}
    with answering() as asked:
        forwards = {f"{FOLDER}/pods/p/portforward?ports={port}": asked.port}
        assert [each.kind for each in of_cluster(tmp_path, objects, forwards)] == ["alert"]


@pytest.mark.parametrize(
    ("objects", "reason", "remedy"),
    [
        ({}, "has no services/prometheus in namespace monitoring", "kubectl get services,pods -n monitoring"),
        ({"services/prometheus": 403}, "does not allow it (RBAC): services/prometheus", "ray-alerts-reader"),
        ({"services/prometheus": service(), "pods": 403}, "does not allow it (RBAC): pods", "ray-alerts-reader"),
        (
            {
                "services/prometheus": service(),
                "pods": {"items": [pod("p")]},
                "pods/p/portforward": 403,
            },
            "does not allow it (RBAC): port-forward to pod monitoring/p",
            "The Role ray-alerts-reader in docs/jobs-rbac.yaml allows it. --prometheus URL names another address.",
        ),
        ({"services/prometheus": service(selector=None)}, "monitoring/prometheus selects no pods", "kubectl get"),
        ({"services/prometheus": service(), "pods": {"items": []}}, "runs: it has none.", "kubectl get"),
        (
            {"services/prometheus": service(), "pods": {"items": [pod("p", phase="Pending")]}},
            "No pod of the Service monitoring/prometheus runs: p is Pending.",
            "kubectl get",
        ),
        (
            {"services/prometheus": service(ports=[{"port": 80}]), "pods": {"items": [pod("p")]}},
            "has no port 9090; it has: 80.",
            "kubectl get",
        ),
        (
            {
                "services/prometheus": service(ports=[{"port": 9090, "targetPort": "http"}]),
                "pods": {"items": [pod("p")]},
            },
            "The pod monitoring/p has no port with the name http.",
            "kubectl get",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 60 else "",
)
def test_a_service_that_cannot_be_reached_is_one_note(
    tmp_path: Path, objects: dict[str, Any], reason: str, remedy: str
) -> None:
    [note] = of_cluster(tmp_path, {f"{FOLDER}/{path}": found for path, found in objects.items()})
    assert (note.kind, reason in note.text, remedy in note.remedy) == ("unread", True, True), note


def test_a_pod_in_which_nothing_listens_is_one_note(tmp_path: Path) -> None:
    objects = {f"{FOLDER}/services/prometheus": service(), f"{FOLDER}/pods": {"items": [pod("p")]}}
    [note] = of_cluster(tmp_path, objects, {f"{FOLDER}/pods/p/portforward?ports=9191": 9})
    assert "Nothing answers in the pod on port 9191" in note.text
    assert note.remedy == "kubectl get services,pods -n monitoring"


def test_a_pod_that_is_silent_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "SECONDS", 1.0)
    objects = {f"{FOLDER}/services/prometheus": service(), f"{FOLDER}/pods": {"items": [pod("p")]}}
    with silent() as port:
        [note] = of_cluster(tmp_path, objects, {f"{FOLDER}/pods/p/portforward?ports=9191": port})
    assert note.text == f"alerts: {SERVICE_URL} did not answer within 1 s."


def test_no_prometheus_is_asked_where_none_is_named(tmp_path: Path) -> None:
    assert of_cluster(tmp_path, {f"{FOLDER}/services/prometheus": 403}, url=None) == []


def test_the_url_of_the_option_comes_before_the_stacks(tmp_path: Path) -> None:
    outputs = write(tmp_path / "outputs.json", contract(prometheus=SERVICE_URL, clusterUid=UID, kubeContext="test"))
    with answering() as asked, api_server(tmp_path) as config:
        target = cluster_of(TargetOptions(outputs=str(outputs), kubeconfig=str(config)), {}, tmp_path)
        found = _alerts(asyncio.run(gather(target, None, prometheus=asked.url)))
    assert [each.kind for each in found] == ["alert"]
