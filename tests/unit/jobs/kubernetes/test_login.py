"""What a kubeconfig says about the connection reaches the API server. kubectl is the reference where it is here."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.errors import JobsError, NotAllowed, Refused
from jobs.kubernetes import kubeconfig
from jobs.kubernetes.api import Kube
from tests.support.api_server import UID, VERSION, kubeconfig_of
from tests.support.http_server import JsonHandler, running
from tests.support.tls import make_ca

KUBECTL = Path(sys.executable).with_name("kubectl")
PLUGIN_VERSION = "client.authentication.k8s.io/v1"


class Server(ThreadingHTTPServer):
    """A stand-in for the API server that keeps the headers of each request; over TLS with a certificate."""

    def __init__(self, certificate: Path | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.headers: list[list[tuple[str, str]]] = []
        self.subjects: list[str] = []
        self.url = f"http{'s' if certificate else ''}://127.0.0.1:{self.server_port}"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)

    def require_certificate_of(self, authority: Path) -> None:
        """Refuses clients without a certificate of this authority, and keeps the names of the others."""
        assert isinstance(self.socket, ssl.SSLSocket)
        self.socket.context.load_verify_locations(authority)
        self.socket.context.verify_mode = ssl.CERT_REQUIRED


class _Handler(JsonHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.headers.append(list(self.headers.items()))
        if isinstance(self.connection, ssl.SSLSocket) and (certificate := self.connection.getpeercert()):
            names = [value for part in certificate["subject"] for key, value in part if key == "commonName"]
            self.server.subjects = [str(name) for name in names]
        answers = {"/version": VERSION, "/api/v1/namespaces/kube-system": {"metadata": {"uid": UID}}}
        path = self.path.rstrip("/")
        self.answer(answers.get(path, {"message": "not there"}), 200 if path in answers else 404)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    _, certificate = make_ca(tmp_path)
    with running(Server(certificate)) as server:
        yield server


@pytest.fixture
def connect(server: Server, tmp_path: Path) -> Callable[..., list[tuple[str, str]]]:
    """Asks the server for the cluster's identity; returns the headers of the last request."""

    def ask(user: dict[str, Any], **cluster: Any) -> list[tuple[str, str]]:
        file = kubeconfig_of(tmp_path, user, {**cluster_of(server), **cluster})

        async def run() -> None:
            kube = await Kube.open(str(file), None)
            try:
                assert await kube.cluster_uid() == UID
            finally:
                await kube.close()

        asyncio.run(run())
        return server.headers[-1]

    return ask


def cluster_of(server: Server) -> dict[str, Any]:
    return {"server": server.url, "certificate-authority": "ca.pem"}


def identity(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The headers that say who asks."""
    return sorted((name.title(), value) for name, value in headers if name.lower().startswith(("auth", "impersonate")))


def plugin(folder: Path, status: dict[str, Any], code: int = 0, **fields: Any) -> dict[str, Any]:
    """A user whose login program writes KUBERNETES_EXEC_INFO to a file and prints `status`."""
    script = folder / "login-program"
    answer = {"apiVersion": PLUGIN_VERSION, "kind": "ExecCredential", "status": status}
    script.write_text(
        f"#!{sys.executable}\nimport os, sys\n"
        f"open({str(folder / 'info')!r}, 'w').write(os.environ['KUBERNETES_EXEC_INFO'])\n"
        f"open({str(folder / 'own')!r}, 'w').write(os.environ.get('OWN', ''))\n"
        f"print({json.dumps(answer)!r})\nsys.exit({code})\n"
    )
    script.chmod(0o755)
    return {"exec": {"apiVersion": PLUGIN_VERSION, "command": str(script), "interactiveMode": "Never", **fields}}


def kubectl(server: Server, file: Path) -> list[tuple[str, str]]:
    """The headers that kubectl sends with the same kubeconfig."""
    if not KUBECTL.exists():
        pytest.skip("kubectl is not installed")
    environ = {key: value for key, value in os.environ.items() if "PROXY" not in key.upper()}
    command = [str(KUBECTL), "--kubeconfig", str(file), "get", "--raw", "/version"]
    subprocess.run(command, env=environ, check=True, capture_output=True, timeout=30)
    return server.headers[-1]


IMPERSONATION = {
    "token": "t",
    "as": "jane",
    "as-groups": ["team", "admins"],
    "as-uid": "42",
    "as-user-extra": {"Scopes": ["a", "b"], "example.com/x": ["c"]},
}


@pytest.mark.parametrize(
    "user",
    [{"token": "t"}, {"username": "u", "password": "p"}, {"token": "t", "as": "jane"}, IMPERSONATION],
    ids=["a token", "a password", "as somebody", "as somebody with groups, uid and extra"],
)
def test_the_user_is_the_same_as_for_kubectl(
    user: dict[str, Any], connect: Callable[..., Any], server: Server, tmp_path: Path
) -> None:
    ours = identity(connect(user))
    assert ours
    assert ours == identity(kubectl(server, kubeconfig_of(tmp_path, user, cluster_of(server))))


def test_nothing_secret_goes_over_plain_http_as_with_kubectl(tmp_path: Path) -> None:
    with running(Server()) as server:
        user = plugin(tmp_path, {"token": "t"})
        for each in ({"token": "t", "as": "jane"}, {"username": "u", "password": "p"}, user):
            file = kubeconfig_of(tmp_path, each, {"server": server.url})

            async def run(file: Path = file) -> None:
                await (await Kube.open(str(file), None)).close()

            asyncio.run(run())
            ours = identity(server.headers[-1])
            assert ours == ([("Impersonate-User", "jane")] if "as" in each else [])
            assert ours == identity(kubectl(server, file))
        assert not (tmp_path / "info").exists()


def test_a_token_file_is_read_beside_the_kubeconfig_and_again_at_each_login(
    connect: Callable[..., Any], tmp_path: Path
) -> None:
    for token in ("one", "two"):
        (tmp_path / "token").write_text(f"{token}\n")
        assert identity(connect({"tokenFile": "token"})) == [("Authorization", f"Bearer {token}")]


def test_a_login_program_is_told_the_cluster_as_kubectl_tells_it(
    connect: Callable[..., Any], server: Server, tmp_path: Path
) -> None:
    extension = [{"name": "client.authentication.k8s.io/exec", "extension": {"audience": "a"}}]
    user = plugin(tmp_path, {"token": "from-program"}, provideClusterInfo=True, env=[{"name": "OWN", "value": "x"}])
    headers = connect(user, extensions=extension)
    assert identity(headers) == [("Authorization", "Bearer from-program")]
    ours = json.loads((tmp_path / "info").read_text())
    assert (tmp_path / "own").read_text() == "x"
    assert ours["spec"]["cluster"]["config"] == {"audience": "a"}
    kubectl(server, kubeconfig_of(tmp_path, user, {**cluster_of(server), "extensions": extension}))
    assert ours == json.loads((tmp_path / "info").read_text())


def test_without_provide_cluster_info_it_is_told_only_whether_it_may_ask(
    connect: Callable[..., Any], tmp_path: Path
) -> None:
    connect(plugin(tmp_path, {"token": "t"}))
    assert json.loads((tmp_path / "info").read_text())["spec"] == {"interactive": False}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"apiVersion": "client.authentication.k8s.io/v1alpha1"}, "v1alpha1"),
        ({"command": "/no/such/program", "installHint": "Install it from example.com."}, "cannot be started"),
        ({"interactiveMode": "Always"}, "there is no terminal"),
        ({"interactiveMode": "Often"}, "interactiveMode Often"),
        ({"env": [{"name": "A"}]}, "without name and value"),
        ({"command": ""}, "names no command"),
    ],
)
def test_an_entry_of_a_login_program_that_cannot_be_used_is_refused(
    change: dict[str, Any], words: str, connect: Callable[..., Any], tmp_path: Path
) -> None:
    user = plugin(tmp_path, {"token": "t"}, **change)
    with pytest.raises(Refused) as refused:
        connect(user)
    assert words in refused.value.message
    assert change.get("installHint", "") in refused.value.remedy


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [({"token": "t"}, 3, "ended with 3"), ({}, 0, "neither a token nor a certificate")],
)
def test_a_login_that_fails_is_named_by_its_program(
    status: dict[str, Any], code: int, words: str, connect: Callable[..., Any], tmp_path: Path
) -> None:
    with pytest.raises(NotAllowed, match=words) as refused:
        connect(plugin(tmp_path, status, code))
    assert "login-program" in refused.value.message


@pytest.mark.parametrize(
    ("user", "cluster", "words"),
    [
        ({"token": "t", "as-groups": ["a"]}, {}, "and no `as`"),
        ({"auth-provider": {"name": "gcp"}}, {}, "auth-provider"),
        ({"token": "t", "impersonate": "x"}, {}, "impersonate, which is not supported"),
        ({"token": "t"}, {"new-field": "x"}, "new-field, which is not supported"),
        ({"tokenFile": "missing"}, {}, "tokenFile of the kubeconfig"),
        ({"client-certificate-data": base64.b64encode(b"x").decode()}, {}, "has no client-key"),
        ({"token": "t"}, {"certificate-authority-data": base64.b64encode(b"x").decode()}, "is no certificate"),
        ({"token": "t"}, {"certificate-authority": "missing.crt"}, "missing.crt cannot be read: No such file"),
        ({"token": "t"}, {"server": ""}, "has no server"),
        ({"token": "t"}, {"proxy-url": "ftp://x"}, "proxy-url of the kubeconfig is no proxy"),
    ],
)
def test_a_field_that_is_wrong_or_not_supported_is_refused_by_name(
    user: dict[str, Any], cluster: dict[str, Any], words: str, connect: Callable[..., Any]
) -> None:
    with pytest.raises(Refused) as refused:
        connect(user, **cluster)
    assert words in refused.value.message, refused.value.message


def test_a_user_that_no_file_has_is_refused(tmp_path: Path, server: Server) -> None:
    file = kubeconfig_of(tmp_path, {"token": "t"}, cluster_of(server))
    file.write_text(file.read_text().replace("name: u", "name: other"))
    with pytest.raises(Refused, match="has no user u, which its context names"):
        asyncio.run(Kube.open(str(file), None))


def test_an_entry_is_taken_from_the_first_file_that_has_it_and_its_paths_are_relative_to_that_file(
    tmp_path: Path, server: Server
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, token in ((first, "of-first"), (second, "of-second")):
        folder.mkdir()
        (folder / "token").write_text(token)
    users = {"users": [{"name": "u", "user": {"tokenFile": "token"}}]}
    (first / "kubeconfig").write_text(yaml.safe_dump({"contexts": [], **users}))
    kubeconfig_of(second, {"tokenFile": "token"}, {**cluster_of(server), "certificate-authority": "../ca.pem"})
    both = os.pathsep.join(str(folder / "kubeconfig") for folder in (first, second))

    async def run() -> None:
        kube = await Kube.open(both, None)
        await kube.close()

    asyncio.run(run())
    assert identity(server.headers[-1]) == [("Authorization", "Bearer of-first")]


class _Socks(socketserver.StreamRequestHandler):
    """SOCKS 5 without authentication, for one connection."""

    def handle(self) -> None:
        _version, count = self.rfile.read(2)
        self.rfile.read(count)
        self.wfile.write(b"\x05\x00")
        kind = self.rfile.read(4)[3]
        host = self.rfile.read(self.rfile.read(1)[0]).decode() if kind == 3 else socket.inet_ntoa(self.rfile.read(4))
        port = int.from_bytes(self.rfile.read(2), "big")
        self.server.asked.append(f"{host}:{port}")  # type: ignore[attr-defined]
        self.wfile.write(b"\x05\x00\x00\x01" + bytes(6))
        with socket.create_connection(("127.0.0.1", port)) as upstream:
            thread = threading.Thread(target=_copy, args=(upstream, self.connection), daemon=True)
            thread.start()
            _copy(self.connection, upstream)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)


@pytest.fixture
def socks() -> Iterator[Any]:
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Socks)
    server.daemon_threads = True
    server.asked = []  # type: ignore[attr-defined]
    with running(server):
        yield server


@pytest.mark.parametrize("how", ["proxy-url", "ALL_PROXY"])
def test_a_socks_proxy_leads_to_the_server(
    how: str, socks: Any, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"socks5://127.0.0.1:{socks.server_address[1]}"
    name = {"server": f"https://k8s.example.com:{server.server_port}", "tls-server-name": "127.0.0.1"}
    cluster = {**cluster_of(server), **name}
    if how == "ALL_PROXY":
        monkeypatch.setenv(how, address)
    else:
        cluster[how] = address
    file = kubeconfig_of(tmp_path, {"token": "t"}, cluster)

    async def run() -> None:
        kube = await Kube.open(str(file), None)
        await kube.close()

    asyncio.run(run())
    assert socks.asked == [f"k8s.example.com:{server.server_port}"]


@pytest.mark.parametrize("no_proxy", ["fd00::/8", "[::1]", "a:b:c", "*"])
def test_no_value_of_no_proxy_ends_in_a_traceback(
    no_proxy: str, connect: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", no_proxy)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    assert identity(connect({"token": "t"})) == [("Authorization", "Bearer t")]


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_certificates_of_the_environment_that_are_not_there_are_refused_by_name(
    name: str, connect: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "/no/such/place")
    with pytest.raises(JobsError, match=f"{name}=/no/such/place: not there"):
        connect({"token": "t"}, **{"certificate-authority": ""})


def test_fields_that_change_nothing_here_are_accepted(connect: Callable[..., Any]) -> None:
    headers = dict(connect({"token": "t", "extensions": []}, **{"disable-compression": True, "extensions": []}))
    assert headers["Accept-Encoding"] == "identity"


def test_a_server_whose_certificate_is_not_to_be_verified_is_used(connect: Callable[..., Any]) -> None:
    with pytest.raises(JobsError, match="certificate"):
        connect({"token": "t"}, **{"certificate-authority": ""})
    headers = connect({"token": "t"}, **{"certificate-authority": "", "insecure-skip-tls-verify": True})
    assert identity(headers) == [("Authorization", "Bearer t")]


def test_a_client_certificate_is_presented_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ca, certificate = make_ca(tmp_path)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    inline = base64.b64encode(certificate.read_bytes()).decode()
    for user in (
        {"client-certificate": "server.pem", "client-key": "server.pem"},
        {"client-certificate-data": inline, "client-key-data": inline},
    ):
        with running(Server(certificate)) as server:
            server.require_certificate_of(ca)
            file = kubeconfig_of(tmp_path, user, cluster_of(server))

            async def run(file: Path = file) -> None:
                await (await Kube.open(str(file), None)).close()

            asyncio.run(run())
            assert server.subjects == ["ray"]
    assert list(temporary.iterdir()) == []


def test_a_pod_without_a_kubeconfig_uses_its_service_account(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = tmp_path / "account"
    account.mkdir()
    (account / "token").write_text("of-the-pod")
    (account / "ca.crt").write_bytes((tmp_path / "ca.pem").read_bytes())
    monkeypatch.setattr(kubeconfig, "SERVICE_ACCOUNT", account)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.server_port))

    async def run() -> None:
        await (await Kube.open(None, None)).close()

    asyncio.run(run())
    assert identity(server.headers[-1]) == [("Authorization", "Bearer of-the-pod")]
