"""Opens and closes the connection to a target's Jobs API: address, token, tunnel."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .dashboard.client import RayJobsApi
from .dashboard.http import HttpClient
from .dashboard.waiting import JobWatcher
from .errors import Forbidden, JobsError, NotThere, Refused
from .target.resolve import ClusterTarget, LocalTarget, Target, UrlTarget, is_loopback
from .target.token import check_token, read_token

if TYPE_CHECKING:
    from .kubernetes.api import Kube
    from .kubernetes.proxies import Proxy
    from .kubernetes.tunnel import Tunnel
    from .target.contract import Cluster

# So long a pod's address is known to be one of the RayCluster. Addresses are given again.
AGENT_SECONDS = 60.0


@dataclass
class Connection:
    """An open way to one Ray cluster.

    Attributes:
        client: Its Jobs API.
        watcher: Its jobs.
        target: The target that was opened.
        url: The URL at which this process reaches the Jobs API.
        identity: The name of the cluster in the ledger.
        proxy: The proxy that leads there, such as `http://proxy:3128 (HTTPS_PROXY)`; empty without one.
        kube: The Kubernetes API of the cluster; None for an address and for the local Ray.
    """

    client: RayJobsApi
    target: Target
    url: str
    identity: str
    token: Callable[[], Awaitable[str | None]] | None = None
    proxy: str = ""
    kube: Kube | None = None
    watcher: JobWatcher = field(init=False)

    def __post_init__(self) -> None:
        self.watcher = JobWatcher(self.client)

    async def read_token(self) -> str | None:
        """Reads the token as it is now; None without token authentication."""
        return None if self.token is None else await self.token()


@asynccontextmanager
async def open_connection(
    target: Target, *, notify: Callable[[str], None] = lambda _text: None
) -> AsyncIterator[Connection]:
    """Opens a connection and closes it at the end of the context.

    Args:
        target: The Ray cluster; see `jobs.target.resolve`.
        notify: Called with messages for a person.

    Raises:
        Refused, LocalFault, Unreachable, NotAllowed, NotThere, DeadlinePassed
    """
    opened: AbstractAsyncContextManager[Connection]
    if isinstance(target, LocalTarget):
        from . import local_ray

        ray = await local_ray.ensure(notify)
        local = UrlTarget(ray.url, ray.token_file, target.headers, True, target.keeper)
        opened = _open_url(local, local_ray.check_listener)
    else:
        opened = _open_url(target) if isinstance(target, UrlTarget) else _open_cluster(target, notify)
    async with opened as connection:
        yield connection


@asynccontextmanager
async def _open_url(target: UrlTarget, check: Callable[[str], None] = lambda _url: None) -> AsyncIterator[Connection]:
    """`check` is called before each request, see `HttpClient`."""

    async def token() -> str | None:
        return read_token(target.token_file)

    agents: dict[str, HttpClient] = {}

    async def agent_route(address: str) -> HttpClient | None:
        if not agent_is_safe(target.url, address):
            return None
        if address not in agents:
            agents[address] = HttpClient(address, token=token, where=f"the Ray agent at {address}", check=check)
        return agents[address]

    proxy = proxy_of_address(target.url)
    name = proxy.name if proxy else ""
    http = HttpClient(
        target.url,
        token=token,
        headers=target.headers,
        verify=target.verify,
        proxy=proxy.url if proxy else None,
        proxy_name=name,
        check=check,
    )
    try:
        # An agent is on this machine or in the same pod network, where no proxy leads.
        yield Connection(RayJobsApi(http, agent_route=agent_route), target, target.url, target.url, token, name)
    finally:
        for each in (http, *agents.values()):
            await each.close()


def proxy_of_address(url: str) -> Proxy | None:
    """Returns the proxy of the environment to an address; None if there is none, or the address is of this machine.

    Raises:
        Refused: The proxy cannot be used.
    """
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return None
    from .kubernetes.proxies import choose_proxy

    host = urlsplit(url).hostname
    if is_loopback(host) or (host is not None and _is_own_address(host)):
        return None
    return choose_proxy(url)


def _is_own_address(host: str) -> bool:
    """Returns whether the host is an IP address of this machine. A name is not looked up."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return _is_this_machine(host)


def agent_is_safe(url: str, agent_address: str) -> bool:
    """Returns whether the token may be sent to the agent at the address that the server names.

    Yes if that is this machine and the dashboard is too, or if this process runs in the pod network of both. Elsewhere,
    such as on a laptop, a pod's address may be another machine's.
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


async def open_kube(target: ClusterTarget, notify: Callable[[str], None]) -> Kube:
    """Opens the Kubernetes API of a target. The caller closes it.

    Raises:
        Refused: The kubeconfig cannot be used, or only an outputs file chose it and the user has to name it.
        Unreachable: The API server does not answer, or it refuses the credentials.
    """
    from .kubernetes.api import Kube
    from .kubernetes.kubeconfig import check_of_outputs

    if (
        target.kubeconfig
        and target.outputs_file is not None
        and not check_of_outputs(target.outputs_file, target.kubeconfig)
    ):
        notify(f"{target.outputs_file} names the kubeconfig {target.kubeconfig}. --kubeconfig names another one.")
    return await Kube.open(target.kubeconfig, target.context)


@asynccontextmanager
async def _open_cluster(target: ClusterTarget, notify: Callable[[str], None]) -> AsyncIterator[Connection]:
    async with contextlib.AsyncExitStack() as stack:
        kube = await open_kube(target, notify)
        stack.push_async_callback(kube.close)
        # A pod's own ServiceAccount leads to no other cluster.
        if not (target.in_cluster and kube.in_pod):
            await verify_identity(kube, target.contract.cluster_uid, notify)
        access = _ClusterAccess(kube, target, stack)
        if target.in_cluster:
            yield _connect_directly(access, target)
            return
        await access.check()
        tunnel = await access.open_tunnel(target.cluster.dashboard_port, access.find_head, target.port)
        if target.cluster.auth_secret is None:
            notify(
                f"{target.name} has no token authentication: every user of this machine can use it through "
                f"127.0.0.1:{tunnel.port} while this command runs."
            )
        http = access.http_through(
            tunnel, f"the Ray head of {target.name}", token=access.read_token_first, headers=target.headers
        )
        client = RayJobsApi(http, agent_route=access.agent)
        identity = target.identity or http.base_url
        yield Connection(client, target, http.base_url, identity, access.read_token, kube=kube)


def _connect_directly(access: _ClusterAccess, target: ClusterTarget) -> Connection:
    """Returns the connection of a pod. Nothing is asked yet: the head may start later than this process."""
    cluster = target.cluster
    url = f"http://{cluster.head_service}.{cluster.namespace}.svc:{cluster.dashboard_port}"
    http = access.http(url, f"the Ray head of {target.name}", token=access.read_token, headers=target.headers)
    client = RayJobsApi(http, agent_route=access.agent_in_cluster)
    return Connection(client, target, url, target.identity or url, access.read_token, kube=access.kube)


class _ClusterAccess:
    """Head, token and agents of one RayCluster, all through one connection to Kubernetes.

    What it opens is closed with the exit stack.
    """

    def __init__(self, kube: Kube, target: ClusterTarget, stack: contextlib.AsyncExitStack) -> None:
        self.kube = kube
        self.cluster = target.cluster
        self.stack = stack
        self._first_token: list[str | None] = []
        self._agents: dict[str, HttpClient] = {}
        self._agents_seen: dict[str, float] = {}

    async def check(self) -> None:
        """Reads the token and looks for the head, so that what is missing is reported now, and not after retries."""
        token, _ = await asyncio.gather(self.read_token(), self.find_head())
        self._first_token = [token]

    async def find_head(self) -> str:
        from .kubernetes.tunnel import head_pod

        return await head_pod(self.kube, self.cluster.namespace, self.cluster.head_service, self.cluster.name)

    async def read_token(self) -> str | None:
        return await token_of_cluster(self.kube, self.cluster)

    async def read_token_first(self) -> str | None:
        """Returns the token of `check` at the first call, so that it is not read twice."""
        return self._first_token.pop() if self._first_token else await self.read_token()

    async def open_tunnel(self, remote_port: int, find_pod: Callable[[], Awaitable[str]], port: int = 0) -> Tunnel:
        from .kubernetes.tunnel import Tunnel

        tunnel = Tunnel(self.kube, self.cluster.namespace, remote_port, find_pod, port)
        await tunnel.start()
        self.stack.push_async_callback(tunnel.close)
        return tunnel

    def http(self, url: str, where: str, **options: Any) -> HttpClient:
        http = HttpClient(url, where=where, **options)
        self.stack.push_async_callback(http.close)
        return http

    def http_through(
        self,
        tunnel: Tunnel,
        where: str,
        *,
        token: Callable[[], Awaitable[str | None]],
        headers: Mapping[str, str] | None = None,
    ) -> HttpClient:
        url = f"http://127.0.0.1:{tunnel.port}"
        return self.http(url, where, token=token, headers=headers, tunnel_error=lambda: tunnel.error)

    async def agent(self, address: str) -> HttpClient | None:
        """Opens a tunnel to the dashboard agent at a pod's address; None if no pod has the address."""
        from .kubernetes.tunnel import pod_of_ip

        if address in self._agents:
            return self._agents[address]
        parts = urlsplit(address)
        if parts.hostname is None or parts.port is None:
            return None
        host = parts.hostname

        async def find_pod() -> str:
            return await pod_of_ip(self.kube, self.cluster.namespace, self.cluster.name, host)

        try:
            await find_pod()
        except JobsError:
            return None
        tunnel = await self.open_tunnel(parts.port, find_pod)
        self._agents[address] = self.http_through(tunnel, f"the Ray agent at {address}", token=self.read_token)
        return self._agents[address]

    async def agent_in_cluster(self, address: str) -> HttpClient | None:
        """Connects to the dashboard agent at a pod's address; None if no pod of the RayCluster has the address: the
        token is not sent there."""
        from .kubernetes.tunnel import pod_of_ip

        now = time.monotonic()
        if now - self._agents_seen.get(address, float("-inf")) > AGENT_SECONDS:
            try:
                await pod_of_ip(self.kube, self.cluster.namespace, self.cluster.name, urlsplit(address).hostname or "")
            except NotThere:
                if (http := self._agents.pop(address, None)) is not None:
                    await http.close()
                return None
            self._agents_seen[address] = now
        if address not in self._agents:
            self._agents[address] = self.http(address, f"the Ray agent at {address}", token=self.read_token)
        return self._agents[address]


async def token_of_cluster(kube: Kube, cluster: Cluster) -> str | None:
    """Reads a cluster's token as it is now; None without token authentication. Raises as `Kube.secret_value`."""
    if cluster.auth_secret is None:
        return None
    name, key = cluster.auth_secret
    token = await kube.secret_value(cluster.namespace, name, key)
    return check_token(token, f"Secret {cluster.namespace}/{name}")


async def verify_identity(kube: Kube, expected: str | None, notify: Callable[[str], None]) -> bool:
    """Returns whether the context is known to lead to the stack's cluster. Raises Refused if it leads to another one.

    If the outputs name no cluster, or RBAC does not allow reading the namespace kube-system, the clusters cannot be
    compared: the user is told, and the command continues.
    """
    if expected is None:
        notify(
            f"The outputs have no clusterUid, so it was not verified that {kube.where} is the stack's cluster. "
            "`make outputs` writes them with it."
        )
        return False
    try:
        uid = await kube.cluster_uid()
    except Forbidden:
        notify(
            f"{kube.where} does not allow reading the namespace kube-system, so it was not verified that this is the "
            "stack's cluster. The ClusterRole in docs/jobs-rbac.yaml allows it."
        )
        return False
    if uid != expected:
        raise Refused(
            f"{kube.where} is another cluster, not the stack's (kube-system has UID {uid}, the stack has {expected}).",
            "Choose the right context with --context, or write the outputs file again with `make outputs`.",
        )
    return True
