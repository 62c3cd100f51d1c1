"""The HTTP server of the page and the API."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from ...errors import LocalFault
from .events import HAS_ENDED

# Connections at once, streams of events among them. The next one is answered with 503.
MOST_CONNECTIONS = 256
# Until answers that are not done are cut at the end, and until the end is no longer waited for. Streams of events end
# within a second.
TICK_SECONDS = 0.5
GRACE_SECONDS = 2
STOP_SECONDS = 2.5


def bound_socket(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """Returns a socket for `run` or `serve` of a server, so that its port is known before it starts. Raises OSError.

    Args:
        host: The address to listen at. Others than this machine reach it only if this is another address.
        port: The port; 0: a free one.
    """
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    # asyncio sends at once (TCP_NODELAY) only on sockets that name the protocol: else each answer takes 40 ms longer.
    bound = socket.socket(family, kind, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(address)
    return bound


class _Server(uvicorn.Server):
    """A server that looks twice a second whether it has to end.

    uvicorn looks ten times a second. At rest that takes as much of a core as all the rest of a keeper.
    """

    async def main_loop(self) -> None:
        while not await self.on_tick(0):
            await asyncio.sleep(TICK_SECONDS)


def server_of(app: ASGIApp) -> uvicorn.Server:
    """Returns a server of an application; `run` or `serve` with sockets of `bound_socket` starts it."""
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        # A header must not decide who asks.
        proxy_headers=False,
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    return _Server(config)


@contextlib.contextmanager
def serving(app: ASGIApp, bound: socket.socket) -> Iterator[str]:
    """Serves an application in a thread of its own until the end of the context.

    Args:
        app: The application.
        bound: See `bound_socket`.

    Yields:
        The URL, such as `http://127.0.0.1:8270`.

    Raises:
        LocalFault: The server does not start.
    """
    end = threading.Event()

    async def app_with_end(scope: Scope, receive: Receive, send: Send) -> None:
        scope[HAS_ENDED] = end.is_set
        await app(scope, receive, send)

    server = server_of(app_with_end)
    thread = threading.Thread(target=server.run, args=([bound],), name="page", daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.01)
    host, port = bound.getsockname()[:2]
    if not server.started:
        raise LocalFault(f"The page cannot be served at {host}:{port}.", "The lines above say why.")
    try:
        yield f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    finally:
        end.set()
        server.should_exit = True
        thread.join(STOP_SECONDS)
