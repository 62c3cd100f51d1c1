"""Which proxy leads to an API server, or to the address of a dashboard, as kubectl decides it.

The rules are those of Go's `golang.org/x/net/http/httpproxy`, and `proxy-url` of the kubeconfig comes first. httpx has
rules of its own, and some values of NO_PROXY that kubectl accepts make it fail. In addition ALL_PROXY is read, as curl
does; kubectl does not read it.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from ..errors import Refused

SCHEMES = ("http", "https", "socks5", "socks5h")
_PORTS = {"http": 80, "https": 443}


class Proxy(NamedTuple):
    """A proxy. `source`: the setting that names it, such as HTTPS_PROXY."""

    url: str
    source: str

    @property
    def name(self) -> str:
        """The proxy for people, without user and password, such as `http://proxy:3128 (HTTPS_PROXY)`."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]} ({self.source})"


def proxy_for(server: str, proxy_url: str = "", environ: Mapping[str, str] = os.environ) -> str | None:
    """Returns the URL of the proxy to a server; see `choose_proxy`."""
    proxy = choose_proxy(server, proxy_url, environ)
    return proxy.url if proxy else None


def choose_proxy(server: str, proxy_url: str = "", environ: Mapping[str, str] = os.environ) -> Proxy | None:
    """Returns the proxy to a server; None: there is none.

    Args:
        server: URL of the API server, or of a dashboard.
        proxy_url: `proxy-url` of the kubeconfig; empty: the environment decides.
        environ: the environment: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY, or the same in lower case.

    Raises:
        Refused: the proxy cannot be used. The message does not repeat it: it may hold a password.
    """
    if proxy_url:
        return _checked(proxy_url, "proxy-url of the kubeconfig")
    url = urlsplit(server)
    name, value = _first(environ, f"{url.scheme}_proxy".upper(), "ALL_PROXY")
    if not value or _is_excluded(url, _first(environ, "NO_PROXY")[1]):
        return None
    return _checked(value, name)


def _first(environ: Mapping[str, str], *names: str) -> tuple[str, str]:
    for name in names:
        for spelling in (name, name.lower()):
            if value := environ.get(spelling, "").strip():
                return spelling, value
    return "", ""


def _checked(value: str, name: str) -> Proxy:
    url = value if "://" in value else f"http://{value}"
    try:
        parts = urlsplit(url)
        valid = bool(parts.hostname) and parts.scheme.lower() in SCHEMES and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    if not valid:
        raise Refused(
            f"{name} is no proxy that can be used (value not shown).",
            f"Write SCHEME://HOST:PORT with one of {', '.join(SCHEMES)}, or remove it.",
        )
    return Proxy(url, name)


def _is_excluded(url: SplitResult, no_proxy: str) -> bool:
    host = (url.hostname or "").lower()
    address = _address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return True  # also without NO_PROXY
    port = url.port or _PORTS.get(url.scheme)
    return any(_matches(entry.strip().lower(), host, address, port) for entry in no_proxy.split(","))


def _matches(
    entry: str, host: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None, port: int | None
) -> bool:
    if entry == "*":
        return True
    if "/" in entry:
        try:
            network = ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False  # Go ignores it too
        return address is not None and address.version == network.version and address in network
    name, entry_port = entry, ""
    # Without a port, brackets around an address mean nothing to Go.
    if parts := re.fullmatch(r"(\[[^\]]*\]|[^:]*):(\d*)", entry):
        name, entry_port = parts[1].strip("[]"), parts[2]
    if not name or (entry_port and int(entry_port) != port):
        return False
    if other := _address(name):
        return address == other
    # `example.com` means its subdomains too, `.example.com` and `*.example.com` only those.
    if name.startswith("*."):
        name = name[1:]
    return host.endswith(name) if name.startswith(".") else host == name or host.endswith(f".{name}")


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
