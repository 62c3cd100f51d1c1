"""The page and the API of a keeper: who may ask it, and under which names."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import time
from collections.abc import Collection
from pathlib import Path

from ..activity import muted
from ..connection import Connection
from ..errors import JobsError, LocalFault
from ..target.resolve import ClusterTarget, is_loopback
from ..target.token import read_token
from .keeper import Keeper
from .web.access import Access
from .web.app import Served
from .web.guard import LOOPBACK_NAMES

# The cluster's token is read again so often while programs ask with it.
TOKEN_SECONDS = 10.0
TOKEN_NAME = "token"


def own_token_file(directory: Path) -> Path:
    """Returns the file with the keeper's own token, for a cluster that has none. It is made if necessary.

    Without it, every user of the machine could read the jobs, and no program could without a rule of its own.

    Raises:
        LocalFault: It can be neither read nor written.
    """
    path = directory.expanduser() / TOKEN_NAME
    try:
        if not path.is_file() or not path.read_text().strip():
            new = path.with_suffix(".new")
            new.unlink(missing_ok=True)
            with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(f"{secrets.token_urlsafe(32)}\n")
            new.rename(path)
    except (OSError, UnicodeDecodeError) as error:
        raise LocalFault(f"The keeper's token file {path} cannot be used: {error}") from None
    return path


class ServedToken:
    """The token that programs send, as the server's thread needs it: at once. It is read in the loop of the connection.

    Args:
        connection: The cluster.
        loop: The event loop of the connection.
        own: The file with the keeper's own token, which counts while the cluster has none; None: there is none.
    """

    def __init__(self, connection: Connection, loop: asyncio.AbstractEventLoop, own: Path | None = None) -> None:
        self._connection = connection
        self._loop = loop
        self._own = own
        self._token: str | None = None
        self._asked_at = self._read_at = float("-inf")

    def __call__(self) -> str | None:
        """Returns the token as it was read last; None if that is too long ago: `refresh` reads it. From any thread."""
        now = self._asked_at = time.monotonic()
        return self._token if now - self._read_at < 2 * TOKEN_SECONDS else None

    async def refresh(self) -> None:
        """Reads the token, from the event loop of a server. If it cannot be read, the last one stays."""
        future = asyncio.run_coroutine_threadsafe(self._read(), self._loop)
        await asyncio.wrap_future(future)

    async def run(self) -> None:
        """Reads the token again and again while it is used, so that an old one does not stay valid."""
        while True:
            if time.monotonic() - self._asked_at < 2 * TOKEN_SECONDS:
                await self._read()
            await asyncio.sleep(TOKEN_SECONDS)

    async def _read(self) -> None:
        with muted(), contextlib.suppress(JobsError):
            token = await self._connection.read_token()
            self._token = read_token(str(self._own)) if token is None and self._own is not None else token
        self._read_at = time.monotonic()


def access_of(connection: Connection, token: ServedToken) -> Access:
    """Returns who may ask the keeper of a connection.

    In a cluster without token authentication everyone who reaches it, as with Ray's own dashboard. On other machines
    the token counts, or the browser that opened the page.
    """
    target = connection.target
    is_open = isinstance(target, ClusterTarget) and target.in_cluster and target.cluster.auth_secret is None
    return Access(token, refresh=token.refresh, is_open=is_open)


def served_of(keeper: Keeper, access: Access) -> Served:
    """Returns what the application shows of a keeper."""
    return Served(keeper.kept, access, keeper.state, keeper.cluster)


def host_names(connection: Connection, listen: str) -> Collection[str]:
    """Returns the names under which the server is asked: see `jobs.keeper.web.guard`.

    Args:
        connection: The cluster, whose keeper has a Service if it runs there.
        listen: The address at which the server listens.
    """
    names = set(LOOPBACK_NAMES)
    target = connection.target
    if isinstance(target, ClusterTarget) and target.in_cluster:
        cluster = target.cluster
        service = cluster.keeper.service if cluster.keeper else f"{cluster.name}-keeper"
        in_namespace = f"{service}.{cluster.namespace}"
        names |= {service, in_namespace, f"{in_namespace}.svc", f"{in_namespace}.svc.cluster.local"}
    if not is_loopback(listen):
        names |= {_in_url(each) for each in _own_names(listen)}
    return names


def _own_names(listen: str) -> set[str]:
    """The address itself; of all addresses (`0.0.0.0`), this machine's name and those that it has."""
    if listen not in ("0.0.0.0", "::"):
        return {listen}
    name = socket.gethostname()
    with contextlib.suppress(OSError):
        return {name, *(str(each[4][0]) for each in socket.getaddrinfo(name, None))}
    return {name}


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
