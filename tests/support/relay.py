"""A TCP relay in front of an API server that is slow or goes away: bytes only, so TLS goes through it."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

import yaml


class Relay:
    """Forwards a port of 127.0.0.1 to `host:port`, until `cut`; each piece of an answer `delay` seconds late."""

    def __init__(self, host: str, port: int, delay: float = 0.0) -> None:
        self.delay = delay
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.port = self._listener.getsockname()[1]

    def __enter__(self) -> Relay:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()

    def cut(self) -> None:
        """Every connection ends now, and no new one is taken."""
        for one in [self._listener, *self._open]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
            except OSError:
                return
            self._open += [near, far]
            for source, target, delay in ((near, far, 0.0), (far, near, self.delay)):
                threading.Thread(target=self._pump, args=(source, target, delay), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, delay: float) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                time.sleep(delay)
                target.sendall(data)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


def server_of(kubeconfig: Path) -> tuple[str, int]:
    """Host and port of the API server that a kubeconfig of one cluster names."""
    server = urlsplit(yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]["server"])
    return str(server.hostname), server.port or 443


def changed(kubeconfig: Path, target: Path, *, server: str = "", token: str = "") -> Path:
    """A copy of a kubeconfig at `target`, with another server address or with a token in place of its credentials."""
    content = yaml.safe_load(kubeconfig.read_text())
    if server:
        content["clusters"][0]["cluster"]["server"] = server
    if token:
        content["users"][0]["user"] = {"token": token}
    target.touch(mode=0o600)
    target.write_text(json.dumps(content))
    return target
