"""From a target to a client that can be used: address, token, tunnel, and everything closed at the end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .dashboard.client import Client
from .dashboard.http import Http
from .errors import Forbidden, JobsError, Refused
from .target.resolve import ClusterTarget, LocalTarget, Target, UrlTarget, checked_token, is_loopback, read_token

if TYPE_CHECKING:
    from .kubernetes.api import Kube

Note = Callable[[str], None]


@dataclass
class Connection:
    """`url` is where this process reaches the Jobs API; `identity` names the cluster in the ledger."""

    client: Client
    target: Target
    url: str
    identity: str
    token: Callable[[], Awaitable[str | None]] | None = None

    async def read_token(self) -> str | None:
        return None if self.token is None else await self.token()


@asynccontextmanager
async def connect(target: Target, *, note: Note = lambda _text: None) -> AsyncIterator[Connection]:
    """A connection for as long as the context lasts. Raises errors of jobs.errors."""
    if isinstance(target, LocalTarget):
        from . import local_ray as local

        ray = await local.ensure(note)
        target = UrlTarget(ray.url, ray.token_file, target.headers, True)
    if isinstance(target, UrlTarget):
        async with _by_url(target) as connection:
            yield connection
    else:
        async with _by_tunnel(target, note) as connection:
            yield connection


def identity_of(target: Target) -> str | None:
    """The name of the target's cluster in the ledger; None for a local Ray, which has one only while it runs."""
    if isinstance(target, ClusterTarget):
        return f"{target.contract.cluster_uid or target.context}/{target.name}"
    return target.url if isinstance(target, UrlTarget) else None


@asynccontextmanager
async def _by_url(target: UrlTarget) -> AsyncIterator[Connection]:
    async def token() -> str | None:
        return read_token(target)

    agents: dict[str, Http] = {}

    async def agent_route(address: str) -> Http | None:
        if not agent_is_safe(target.url, address):
            return None
        if address not in agents:
            agents[address] = Http(address, token=token, where=f"the Ray agent at {address}")
        return agents[address]

    http = Http(target.url, token=token, headers=target.headers, verify=target.verify)
    try:
        yield Connection(Client(http, agent_route=agent_route), target, target.url, target.url, token)
    finally:
        for each in (http, *agents.values()):
            await each.close()


def agent_is_safe(url: str, agent_address: str) -> bool:
    """Whether the token may be sent to the agent at the address that the server names.

    Yes where that is this machine itself and the dashboard is too, or where both are in the pod network that this
    process runs in. From a laptop a pod's address may be some other machine's.
    """
    dashboard, agent = urlsplit(url), urlsplit(agent_address)
    if dashboard.scheme != "http" or agent.scheme != "http" or agent.hostname is None:
        return False
    if is_loopback(dashboard.hostname):
        return _is_this_machine(agent.hostname)
    return "KUBERNETES_SERVICE_HOST" in os.environ


def _is_this_machine(host: str) -> bool:
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))
        return True
    except OSError:
        return False


@asynccontextmanager
async def _by_tunnel(target: ClusterTarget, note: Note) -> AsyncIterator[Connection]:
    from .kubernetes.api import Kube
    from .kubernetes.tunnel import Tunnel, head_pod, pod_of_ip

    cluster, contract = target.cluster, target.contract
    async with contextlib.AsyncExitStack() as stack:
        kube = await Kube.open(target.kubeconfig, target.context)
        stack.push_async_callback(kube.close)

        async def find_head() -> str:
            return await head_pod(kube, cluster.namespace, cluster.head_service, cluster.name)

        async def token() -> str | None:
            if cluster.auth_secret is None:
                return None
            name, key = cluster.auth_secret
            return checked_token(
                await kube.secret_value(cluster.namespace, name, key), f"Secret {cluster.namespace}/{name}"
            )

        await verify_identity(kube, contract.cluster_uid, note)
        # Asked beforehand, so that what is missing is said at once and not after many attempts.
        first_token, _ = await asyncio.gather(token(), find_head())
        tokens = [first_token]

        async def token_at_use() -> str | None:
            return tokens.pop() if tokens else await token()

        tunnel = Tunnel(kube, cluster.namespace, cluster.dashboard_port, find_head, target.port)
        await tunnel.start()
        stack.push_async_callback(tunnel.close)
        agents: dict[str, Http] = {}

        async def agent_route(address: str) -> Http | None:
            if address in agents:
                return agents[address]
            parts = urlsplit(address)
            if parts.hostname is None or parts.port is None:
                return None
            host = parts.hostname

            async def find_driver() -> str:
                return await pod_of_ip(kube, cluster.namespace, cluster.name, host)

            try:
                await find_driver()
            except JobsError:
                return None
            through = Tunnel(kube, cluster.namespace, parts.port, find_driver)
            await through.start()
            stack.push_async_callback(through.close)
            agents[address] = Http(
                f"http://127.0.0.1:{through.port}",
                token=token,
                where=f"the Ray agent at {address}",
                trouble=lambda: through.trouble,
            )
            stack.push_async_callback(agents[address].close)
            return agents[address]

        url = f"http://127.0.0.1:{tunnel.port}"
        http = Http(
            url,
            token=token_at_use,
            headers=target.headers,
            where=f"the Ray head of {target.name}",
            trouble=lambda: tunnel.trouble,
        )
        stack.push_async_callback(http.close)
        yield Connection(Client(http, agent_route=agent_route), target, url, identity_of(target) or url, token)


async def verify_identity(kube: Kube, expected: str | None, note: Note) -> None:
    """Refuses a context that leads to another cluster than the stack's. Where RBAC does not let the namespace
    kube-system be read the comparison cannot be made: that is said, and the command goes on."""
    if expected is None:
        return
    try:
        found = await kube.cluster_uid()
    except Forbidden:
        note(
            f"{kube.where}: the namespace kube-system may not be read, so whether this is the stack's cluster was not "
            "checked. The ClusterRole in docs/jobs-rbac.yaml allows it."
        )
        return
    if found != expected:
        raise Refused(
            f"{kube.where} is another cluster than the stack's (kube-system has UID {found}, the stack {expected}).",
            "Choose the right context with --context, or write the outputs file anew.",
        )


def write_private(path: Path, text: str) -> None:
    """A file that only this user can read (0600), made anew."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
