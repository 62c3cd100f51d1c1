"""A loopback port that leads to a port of a pod through the Kubernetes API, also after the pod was replaced.

Each TCP connection has its own websocket, and the pod is looked up for each: a new connection finds the new pod. The
client of the port sees only a closed connection; the attribute `error` has the cause.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import httpx_ws

from ..dashboard._httpx import httpx
from ..errors import Forbidden, JobsError, LocalFault, NotThere, Unreachable, command
from ..spec.shown import shown
from .api import API_SECONDS, Kube, error_of_exception
from .paths import segment
from .pod_problems import containers, unschedulable

# After one side has closed its half, the other may still be answering.
LINGER_SECONDS = 30.0
PIECE = 32 * 1024
# Each port has two channels: data, and errors as text. One port is requested.
DATA, ERRORS = 0, 1


class Tunnel:
    """Listens on 127.0.0.1 from `start` to `close`.

    Args:
        kube: The Kubernetes API.
        namespace: Namespace of the pod.
        remote_port: The pod's port.
        find_pod: Returns the name of the pod for each new connection.
        port: The local port; 0 is a free one. Afterwards, the attribute `port` is the port in use.

    Attributes:
        error: The error of the last connection; None if it ended well.
    """

    def __init__(
        self, kube: Kube, namespace: str, remote_port: int, find_pod: Callable[[], Awaitable[str]], port: int = 0
    ) -> None:
        self.kube = kube
        self.namespace = namespace
        self.remote_port = remote_port
        self.find_pod = find_pod
        self.port = port
        self.error: JobsError | None = None
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Starts to listen. Raises LocalFault if the port is taken."""
        try:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, limit=4 * PIECE)
        except OSError as error:
            taken = error.errno in (errno.EADDRINUSE, errno.EACCES)
            raise LocalFault(
                f"Port {self.port} on 127.0.0.1 {'is taken' if taken else f'cannot be used: {error}'}.",
                "Choose another one with --port, or leave it out to get a free one.",
            ) from error
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        broken: JobsError | None = None
        try:
            await self._carry(reader, writer)
        except JobsError as error:
            broken = error
        except asyncio.CancelledError:
            pass
        except Exception as error:
            broken = error_of_exception(error, self.kube.where, f"the tunnel to port {self.remote_port}")
        finally:
            self._connections.discard(task)
            self.error = broken
            # A reset, not an orderly end: the client must not take a part for the whole.
            if broken is not None:
                writer.transport.abort()
            with contextlib.suppress(Exception):
                writer.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pod = await self.find_pod()
        opening = self.kube.api.open_websocket(
            version="v1",
            url=f"pods/{segment(pod)}/portforward",
            namespace=segment(self.namespace),
            params={"ports": str(self.remote_port)},
            subprotocols=["v4.channel.k8s.io"],
            keepalive_ping_interval_seconds=10.0,
            keepalive_ping_timeout_seconds=20.0,
        )
        # The websocket belongs to the task that opens it, so its opening cannot be bounded by a task around it.
        late = False
        task = asyncio.current_task()
        assert task is not None

        def give_up() -> None:
            nonlocal late
            late = True
            task.cancel()

        alarm = asyncio.get_running_loop().call_later(API_SECONDS, give_up)
        broken: JobsError | None = None
        try:
            async with opening as socket:
                alarm.cancel()
                # Returned, not raised: the websocket would wrap an error into an exception group.
                broken = await _Carrier(self, socket, reader, writer).run()
        except asyncio.CancelledError:
            if late:
                raise Unreachable(f"{self.kube.where} did not open a tunnel within {API_SECONDS:.0f} s.") from None
            raise
        except Exception as error:
            raise error_of_exception(error, self.kube.where, f"port-forward to pod {self.namespace}/{pod}") from error
        finally:
            alarm.cancel()
        if broken is not None:
            raise broken


class _Carrier:
    """Copies bytes both ways between one TCP connection and one websocket."""

    def __init__(self, tunnel: Tunnel, socket: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tunnel = tunnel
        self.socket = socket
        self.reader = reader
        self.writer = writer
        self.received = 0

    async def run(self) -> JobsError | None:
        """Copies until one side has ended. Returns the error, if there was one."""
        out, back = asyncio.ensure_future(self._to_pod()), asyncio.ensure_future(self._from_pod())
        try:
            await asyncio.wait({out, back}, return_when=asyncio.FIRST_COMPLETED)
            # The client closed its half first: wait for the answer, as long as bytes arrive.
            before = -1
            while not back.done() and before != self.received:
                before = self.received
                await asyncio.wait({back}, timeout=LINGER_SECONDS)
        finally:
            for task in (out, back):
                task.cancel()
            results = await asyncio.gather(out, back, return_exceptions=True)
        return next((result for result in results if isinstance(result, JobsError)), None)

    async def _to_pod(self) -> None:
        try:
            while data := await self.reader.read(PIECE):
                await self.socket.send_bytes(bytes([DATA]) + data)
        except ConnectionError:
            pass  # The client has closed the connection.
        except (httpx_ws.HTTPXWSException, httpx.TransportError) as error:
            raise self._broke(error) from error

    async def _from_pod(self) -> None:
        opened: set[int] = set()
        try:
            while True:
                message = await self.socket.receive_bytes()
                if not message:
                    continue
                channel, data = message[0], message[1:]
                if channel not in opened:
                    opened.add(channel)  # The first message of a channel has the port number.
                elif channel == ERRORS and data:
                    raise Unreachable(
                        f"Nothing answers in the pod on port {self.tunnel.remote_port}: "
                        f"{shown(data.decode(errors='replace').strip(), 300)}",
                        f"Ray may be starting, or down; {command('check')} shows which.",
                    )
                elif channel == DATA:
                    self.received += len(data)
                    self.writer.write(data)
                    await self.writer.drain()
        except httpx_ws.WebSocketDisconnect as end:
            if end.code not in (1000, None):
                raise self._broke(end) from end
        except ConnectionError:
            pass  # The client has closed the connection.
        except (httpx_ws.HTTPXWSException, httpx.TransportError) as error:
            raise self._broke(error) from error

    def _broke(self, error: Exception) -> Unreachable:
        return Unreachable(f"The tunnel through {self.tunnel.kube.where} broke: {type(error).__name__}.")


async def head_pod(kube: Kube, namespace: str, service: str, cluster: str) -> str:
    """Returns the name of the pod behind the head service: preferably a ready one, and one that is not terminating.

    Raises NotThere, with the state of the pods that exist.
    """
    selector = {"ray.io/cluster": cluster, "ray.io/node-type": "head"}
    try:
        head = await kube.get("services", service, namespace=namespace)
        selector = (head.get("spec") or {}).get("selector") or selector
    except Forbidden:
        pass  # KubeRay's own labels select the same pod.
    except NotThere:
        raise NotThere(
            f"There is no service {namespace}/{service}: the RayCluster {cluster!r} does not exist, or its operator "
            "is down.",
            "`pulumi up` creates it.",
        ) from None
    pods = await kube.pods(namespace, selector)
    if running := running_pods(pods):
        return str(running[0]["metadata"]["name"])
    if not pods:
        raise NotThere(f"The RayCluster {namespace}/{cluster} has no head pod.", "Is it suspended or just starting?")
    states = ", ".join(f"{pod['metadata']['name']} is {pod_state(pod)}" for pod in pods)
    raise NotThere(f"No head pod of {namespace}/{cluster} runs: {states}.", f"{command('check')} shows more.")


def running_pods(pods: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the pods that run: first those that are ready and not terminating."""
    return sorted((pod for pod in pods if _rank(pod) is not None), key=lambda pod: _rank(pod) or 0)


def _rank(pod: Mapping[str, Any]) -> int | None:
    status = pod.get("status") or {}
    if status.get("phase") != "Running":
        return None
    leaving = bool(pod["metadata"].get("deletionTimestamp"))
    ready = any(c.get("type") == "Ready" and c.get("status") == "True" for c in status.get("conditions") or [])
    return 2 * leaving + (not ready)


def pod_state(pod: Mapping[str, Any]) -> str:
    """Returns the first reason why a pod does not run, in the words of Kubernetes."""
    for container in containers(pod):
        if container.waiting_reason:
            return f"{container.waiting_reason} ({container.name})"
    if reason := unschedulable(pod):
        return ": ".join(reason)
    return str((pod.get("status") or {}).get("phase") or "unknown")


async def pod_of_ip(kube: Kube, namespace: str, cluster: str, ip: str) -> str:
    """Returns the name of the cluster's pod with this address. Raises NotThere."""
    for pod in await kube.pods(namespace, {"ray.io/cluster": cluster}):
        if (pod.get("status") or {}).get("podIP") == ip:
            return str(pod["metadata"]["name"])
    raise NotThere(f"No pod of {namespace}/{cluster} has the address {ip}.")
