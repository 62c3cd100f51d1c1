"""Asks a Prometheus for its alerts, in a few seconds: a Service of the cluster by a tunnel, any other URL directly."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..connection import proxy_of_address
from ..dashboard._httpx import httpx
from ..dashboard.http import HttpClient, read_json
from ..deadline import bounded
from ..errors import Forbidden, NotAllowed, NotThere, ServerFault, Unreachable
from ..kubernetes.services import ServiceAddress, pod_of_service, service_of
from ..spec.shown import shown

if TYPE_CHECKING:
    from ..kubernetes.api import Kube

# To find the pod and to open the tunnel, the request and its answer together.
SECONDS = 3.0
_OTHER_URL = "--prometheus URL names another address"


async def read_alerts(url: str, kube: Kube | None) -> Any:
    """Returns the JSON that a Prometheus answers to `GET /api/v1/alerts`.

    Args:
        url: An http or https URL without a login.
        kube: The Kubernetes API of the stack. A tunnel through it leads to a host NAME.NAMESPACE, but from within a pod
            of the same cluster; None: every host is asked directly.

    Raises:
        JobsError: There is no usable answer within SECONDS. Message and remedy are complete sentences.
    """
    try:
        return await bounded(_read(url, kube), SECONDS)
    except asyncio.TimeoutError:
        raise Unreachable(f"{url} did not answer within {SECONDS:.0f} s.", _reach_remedy(url, kube)) from None
    except (httpx.InvalidURL, UnicodeError) as error:
        raise Unreachable(f"{url} is no address: {error}.", f"{_OTHER_URL}.") from None
    except Forbidden as error:
        raise Forbidden(
            error.message, f"The Role ray-alerts-reader in docs/jobs-rbac.yaml allows it. {_OTHER_URL}."
        ) from None
    except (NotAllowed, ServerFault):
        raise
    except (NotThere, Unreachable) as error:
        untrusted = "CERTIFICATE_VERIFY_FAILED" in error.message
        remedy = f"Name the file of its CA in SSL_CERT_FILE. {_OTHER_URL}." if untrusted else _reach_remedy(url, kube)
        raise Unreachable(error.message, remedy) from None


async def _read(url: str, kube: Kube | None) -> Any:
    async with contextlib.AsyncExitStack() as stack:
        service, where = _service(url, kube), url
        options: dict[str, Any] = {}
        if kube is not None and service is not None:
            http, options = await _open_tunnel(url, kube, service, stack)
        elif proxy := proxy_of_address(url):
            http = HttpClient(url, proxy=proxy.url, proxy_name=proxy.name)
            where = f"{url}, through the proxy {proxy.name},"
        else:
            http = HttpClient(url)
        stack.push_async_callback(http.close)
        return _alerts_in(await http.once("GET", "/api/v1/alerts", **options), where)


def _service(url: str, kube: Kube | None) -> ServiceAddress | None:
    """Returns the Service to which a tunnel has to lead; None: the URL is asked directly."""
    return None if kube is None or kube.in_pod else service_of(url)


async def _open_tunnel(
    url: str, kube: Kube, service: ServiceAddress, stack: contextlib.AsyncExitStack
) -> tuple[HttpClient, dict[str, Any]]:
    from ..kubernetes.tunnel import Tunnel

    pod, port = await pod_of_service(kube, service)

    async def find_pod() -> str:
        return pod

    tunnel = Tunnel(kube, service.namespace, port, find_pod)
    await tunnel.start()
    stack.push_async_callback(tunnel.close)
    parts = urlsplit(url)
    http = HttpClient(
        f"{parts.scheme}://127.0.0.1:{tunnel.port}{parts.path}", where=url, tunnel_error=lambda: tunnel.error
    )
    # The server sees the name that pods use, and its certificate is verified for that.
    return http, {"headers": {"Host": parts.netloc}, "extensions": {"sni_hostname": parts.hostname}}


def _alerts_in(response: httpx.Response, where: str) -> Any:
    status = response.status_code
    if status in (401, 403) or response.is_redirect:
        what = "redirects, perhaps to a login" if response.is_redirect else "requires a login"
        raise NotAllowed(f"{where} {what} (HTTP {status}), and no login is sent.", f"{_OTHER_URL} that needs none.")
    try:
        answer = read_json(response.content)
    except (ValueError, RecursionError):
        answer = None
    if isinstance(answer, dict) and answer.get("status") == "success":
        return answer
    if isinstance(answer, dict) and isinstance(answer.get("error"), str):
        raise ServerFault(f"{where} answered HTTP {status}: {shown(answer['error'], 300)}")
    raise ServerFault(
        f"{where} does not answer as a Prometheus (HTTP {status}).",
        f"Check host, port and path: the path is what stands before /api/v1. {_OTHER_URL}.",
    )


def _reach_remedy(url: str, kube: Kube | None) -> str:
    service = service_of(url)
    if service is None:
        return f"Does it run, and is a VPN needed? {_OTHER_URL}."
    if _service(url, kube) is None and not (kube is not None and kube.in_pod):
        return f"Such a name is known in the cluster only. {_OTHER_URL}, which this machine reaches."
    return f"kubectl get services,pods -n {service.namespace}"
