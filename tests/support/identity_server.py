"""A stand-in for an API server that keeps who asked, and kubectl as the reference."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.api_server import UID, VERSION
from tests.support.http_server import JsonHandler

KUBECTL = Path(sys.executable).with_name("kubectl")
PLUGIN_VERSION = "client.authentication.k8s.io/v1"


class Server(ThreadingHTTPServer):
    """A stand-in for the API server that keeps the headers of each request; over TLS with a certificate."""

    def __init__(self, certificate: Path | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.headers: list[list[tuple[str, str]]] = []
        self.subjects: list[str] = []
        self.expired_token = ""
        self.url = f"http{'s' if certificate else ''}://127.0.0.1:{self.server_port}"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            # The handshake is in each connection's own thread: a client that never begins must not block the server.
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

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
            subject: Any = certificate["subject"]
            self.server.subjects = [value for part in subject for key, value in part if key == "commonName"]
        answers = {"/version": VERSION, "/api/v1/namespaces/kube-system": {"metadata": {"uid": UID}}}
        path = self.path.rstrip("/")
        expired = self.headers.get("Authorization") == f"Bearer {self.server.expired_token}"
        status = 401 if expired else 200 if path in answers else 404
        self.answer(answers.get(path, {"message": "not there"}), status)


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


def _run_kubectl(file: Path) -> subprocess.CompletedProcess[str]:
    if not KUBECTL.exists():
        pytest.skip("kubectl is not installed")
    environ = {key: value for key, value in os.environ.items() if "PROXY" not in key.upper()}
    command = [str(KUBECTL), "--kubeconfig", str(file), "get", "--raw", "/version"]
    return subprocess.run(command, env=environ, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=30)


def kubectl(server: Server, file: Path) -> list[tuple[str, str]]:
    """The headers that kubectl sends with the same kubeconfig."""
    done = _run_kubectl(file)
    assert done.returncode == 0, done.stderr
    return server.headers[-1]


def kubectl_refuses(file: Path) -> bool:
    """Whether kubectl refuses the same kubeconfig, or cannot ask the server with it."""
    return _run_kubectl(file).returncode != 0
