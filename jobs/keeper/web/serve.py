"""The HTTP server of the page and the API."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

# Connections at once, streams of events among them. The next one is answered with 503.
MOST_CONNECTIONS = 256
# Until open streams are cut at the end, and until the end is no longer waited for.
GRACE_SECONDS = 1
STOP_SECONDS = 2.0


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
        # Streams of events have no end of their own.
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    return uvicorn.Server(config)


@contextlib.contextmanager
def serving(app: ASGIApp, bound: socket.socket) -> Iterator[str]:
    """Serves an application in a thread of its own until the end of the context.

    Args:
        app: The application.
        bound: See `bound_socket`.

    Yields:
        The URL, such as `http://127.0.0.1:8270`.
    """
    server = server_of(app)
    thread = threading.Thread(target=server.run, args=([bound],), name="page", daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.01)
    host, port = bound.getsockname()[:2]
    try:
        yield f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    finally:
        server.should_exit = True
        thread.join(STOP_SECONDS)
