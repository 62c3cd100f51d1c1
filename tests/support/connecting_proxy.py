"""Real small proxies: SOCKS 5 and http's CONNECT. They lead every name to this machine, and remember what was asked."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator

from tests.support.http_server import running


class ConnectingProxy(socketserver.ThreadingTCPServer):
    """Attributes: `asked` are the `host:port` that clients asked for, `scheme` that of its URL."""

    daemon_threads = True

    def __init__(self, scheme: str) -> None:
        super().__init__(("127.0.0.1", 0), {"socks5": _Socks, "http": _Http}[scheme])
        self.scheme = scheme
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}"


@contextlib.contextmanager
def connecting_proxy(scheme: str) -> Iterator[ConnectingProxy]:
    with running(ConnectingProxy(scheme)) as server:
        yield server


class _Connection(socketserver.StreamRequestHandler):
    server: ConnectingProxy
    rbufsize = 0  # what follows the proxy's own protocol belongs to the other side

    def connect(self, host: str, port: int, answer: bytes) -> None:
        self.server.asked.append(f"{host}:{port}")
        self.wfile.write(answer)
        with socket.create_connection(("127.0.0.1", port)) as upstream:
            threading.Thread(target=_copy, args=(upstream, self.connection), daemon=True).start()
            _copy(self.connection, upstream)


class _Socks(_Connection):
    """SOCKS 5 without authentication."""

    def handle(self) -> None:
        _version, count = self.rfile.read(2)
        self.rfile.read(count)
        self.wfile.write(b"\x05\x00")
        kind = self.rfile.read(4)[3]
        host = self.rfile.read(self.rfile.read(1)[0]).decode() if kind == 3 else socket.inet_ntoa(self.rfile.read(4))
        self.connect(host, int.from_bytes(self.rfile.read(2), "big"), b"\x05\x00\x00\x01" + bytes(6))


class _Http(_Connection):
    """http, with CONNECT only."""

    def handle(self) -> None:
        host, _, port = self.rfile.readline().split()[1].decode().rpartition(":")
        while self.rfile.readline().strip():
            pass
        self.connect(host, int(port), b"HTTP/1.1 200 Connected\r\n\r\n")


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
