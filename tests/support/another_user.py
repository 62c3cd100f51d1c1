"""A second user of this machine, who listens on ports. Only root can become another user."""

from __future__ import annotations

import multiprocessing
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

UID = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


@contextmanager
def listener() -> Iterator[tuple[int, Connection]]:
    """Listens on 127.0.0.1 as the other user. Yields the port, and a pipe with what each connection sent first."""
    with _as_other_user(_listen) as pipe:
        yield pipe.recv(), pipe


@contextmanager
def port_racer() -> Iterator[Connection]:
    """Binds each port that a command line on this machine shows as `--dashboard-port`, before its owner can.

    Yields a pipe with what the connections sent.
    """
    with _as_other_user(_race) as pipe:
        yield pipe


@contextmanager
def _as_other_user(work: Callable[[Connection], None]) -> Iterator[Connection]:
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()

    def main(pipe: Any) -> None:
        os.setgroups([])
        os.setgid(UID)
        os.setuid(UID)
        work(pipe)

    process = context.Process(target=main, args=(there,), daemon=True)
    process.start()
    try:
        yield here
    finally:
        process.terminate()
        process.join()


def _listen(pipe: Connection) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        pipe.send(server.getsockname()[1])
        while True:
            _answer(server, pipe)


def _race(pipe: Connection) -> None:
    before = set(_dashboard_ports())
    servers: dict[int, socket.socket] = {}
    while True:
        for port in set(_dashboard_ports()) - before - servers.keys() - {0}:
            try:
                servers[port] = socket.create_server(("127.0.0.1", port))
                servers[port].settimeout(0.02)
            except OSError:
                before.add(port)
        for server in servers.values():
            with suppress(TimeoutError):
                _answer(server, pipe)
        time.sleep(0.01)


def _answer(server: socket.socket, pipe: Connection) -> None:
    connection, _ = server.accept()
    with connection:
        connection.settimeout(5)
        pipe.send(connection.recv(65536))
        connection.sendall(_ANSWER)


def _dashboard_ports() -> Iterator[int]:
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes()
        except OSError:
            continue
        for number in re.findall(rb"--dashboard-port=([0-9]+)", words):
            yield int(number)
