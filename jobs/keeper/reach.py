"""The way to the keeper of a target: its Service through a tunnel, in a pod directly, or the URL of --keeper."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from ..connection import open_kube, proxy_of_address, token_of_cluster, verify_identity
from ..dashboard.http import HttpClient
from ..errors import Forbidden, NotThere, command
from ..local_ray import find as find_local_ray
from ..target.resolve import ClusterTarget, KeeperUrl, LocalTarget, Target
from ..target.token import read_token
from .client import KeeperApi

if TYPE_CHECKING:
    from ..kubernetes.api import Kube
    from ..kubernetes.services import ServiceAddress

_ROLE = "The Role ray-keeper-reader in docs/jobs-rbac.yaml allows it."


def has_keeper(target: Target) -> bool:
    """Whether the target names a keeper."""
    return target.keeper is not None or (isinstance(target, ClusterTarget) and target.cluster.keeper is not None)


@asynccontextmanager
async def reach_keeper(
    target: Target, *, notify: Callable[[str], None] = lambda _text: None, for_browser: bool = False
) -> AsyncIterator[KeeperApi]:
    """Opens the way to the target's keeper, and closes it at the end of the context.

    Args:
        target: The Ray cluster; see `jobs.target.resolve`.
        notify: Called with messages for a person.
        for_browser: `KeeperApi.url` has to be an address of this machine: in a pod, a tunnel is used as well.

    Raises:
        NotThere: The target names no keeper, or its Service has no pod that runs.
        Refused, LocalFault, Unreachable, NotAllowed: See `open_connection`.
    """
    if not has_keeper(target):
        raise NotThere(
            f"No keeper of {target.name} is known.",
            "Name one with --keeper URL. A stack has one with `keeper` in its file: write the outputs anew after that.",
        )
    async with AsyncExitStack() as stack:
        if isinstance(target, ClusterTarget):
            kube = await open_kube(target, notify)
            stack.push_async_callback(kube.close)
            await verify_identity(kube, target.contract.cluster_uid, notify)
            yield await of_cluster(target, kube, stack, for_browser=for_browser)
        else:
            assert target.keeper is not None  # `has_keeper`
            yield await _at_url(target.keeper, target, _token_of_machine(target), stack)


async def of_cluster(
    target: ClusterTarget, kube: Kube, stack: AsyncExitStack, *, for_browser: bool = False
) -> KeeperApi:
    """Opens the way to the keeper of a cluster, over a Kubernetes API that is open. See `reach_keeper`."""
    from ..kubernetes.services import ServiceAddress

    async def token() -> str | None:
        return await token_of_cluster(kube, target.cluster)

    if target.keeper is not None:
        return await _at_url(target.keeper, target, token, stack)
    known = target.cluster.keeper
    assert known is not None  # `has_keeper`
    service = ServiceAddress(known.service, target.cluster.namespace, known.port)
    where = f"the keeper of {target.name}"
    remedy = f"kubectl get services,pods -n {service.namespace}"
    if kube.in_pod and not for_browser:
        http = HttpClient(f"http://{service.name}.{service.namespace}.svc:{service.port}", token=token, where=where)
        stack.push_async_callback(http.close)
        return KeeperApi(http, remedy)
    return KeeperApi(await _through_tunnel(kube, service, where, target.port, token, stack), remedy)


async def _through_tunnel(
    kube: Kube,
    service: ServiceAddress,
    where: str,
    port: int,
    token: Callable[[], Awaitable[str | None]],
    stack: AsyncExitStack,
) -> HttpClient:
    from ..kubernetes.services import pod_of_service
    from ..kubernetes.tunnel import Tunnel

    async def find_pod() -> str:
        return (await pod_of_service(kube, service))[0]

    try:
        _, pod_port = await pod_of_service(kube, service)
    except Forbidden as error:
        raise Forbidden(f"{where[0].upper()}{where[1:]} cannot be reached: {error.message}", _ROLE) from None
    except NotThere as error:
        raise NotThere(
            f"{where[0].upper()}{where[1:]} does not run: {error.message}",
            f"kubectl get services,pods -n {service.namespace}. If the stack has no keeper any more, write the outputs "
            "anew.",
        ) from None
    tunnel = Tunnel(kube, service.namespace, pod_port, find_pod, port)
    await tunnel.start()
    stack.push_async_callback(tunnel.close)
    http = HttpClient(f"http://127.0.0.1:{tunnel.port}", token=token, where=where, tunnel_error=lambda: tunnel.error)
    stack.push_async_callback(http.close)
    return http


async def _at_url(
    keeper: KeeperUrl, target: Target, token_of_cluster: Callable[[], Awaitable[str | None]], stack: AsyncExitStack
) -> KeeperApi:
    async def token() -> str | None:
        # The file that the user names counts first: a keeper of a cluster without tokens has one of its own.
        return await token_of_cluster() if keeper.token_file is None else read_token(keeper.token_file)

    proxy = proxy_of_address(keeper.url)
    http = HttpClient(
        keeper.url,
        token=token,
        headers=target.headers,
        verify=keeper.verify,
        where=f"the keeper at {keeper.url}",
        proxy=proxy.url if proxy else None,
        proxy_name=proxy.name if proxy else "",
    )
    stack.push_async_callback(http.close)
    return KeeperApi(http, f"Check --keeper. Does {command('keep')} run there?")


def _token_of_machine(target: Target) -> Callable[[], Awaitable[str | None]]:
    async def token() -> str | None:
        if isinstance(target, LocalTarget):
            ray = await find_local_ray()
            return None if ray is None else read_token(ray.token_file)
        return None if isinstance(target, ClusterTarget) else read_token(target.token_file)

    return token
