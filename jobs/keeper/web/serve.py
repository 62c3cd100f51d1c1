"""The HTTP server of the page and the API."""

from __future__ import annotations

import uvicorn
from starlette.types import ASGIApp

# Connections at once, streams of events among them. The next one is answered with 503.
MOST_CONNECTIONS = 256


def server_of(app: ASGIApp, host: str = "127.0.0.1", port: int = 0) -> uvicorn.Server:
    """Returns a server; `run` or `serve` starts it.

    Args:
        app: The application.
        host: The address to listen at. Others than this machine reach it only if this is another address.
        port: The port; 0: a free one.
    """
    config = uvicorn.Config(
        app,
        host,
        port,
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
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config)
