"""The client of kr8s with our own login: kr8s' own leaves keys on the disk and ignores fields of the kubeconfig."""

from __future__ import annotations

import contextlib
import ssl
from typing import Any

from kr8s._api import Api
from kr8s._auth import KubeAuth

from ..dashboard._httpx import httpx
from ..dashboard.http import reason
from .credentials import Credentials, read_credentials, service_account
from .kubeconfig import Kubeconfig


class _Login(KubeAuth):  # type: ignore[misc]
    """Every login goes through `reauthenticate`: the first, the ones after a 401, and those that kr8s makes by itself.

    Args:
        config: the kubeconfig files; None: the ServiceAccount of this pod.
        context: name of the context.
    """

    server: str

    def __init__(self, config: Kubeconfig | None, context: str) -> None:
        super().__init__(kubeconfig=False, namespace="default")
        self.config = config
        self.context = context
        self.credentials: Credentials | None = None

    async def reauthenticate(self) -> None:
        if self.config is None:
            self.credentials = service_account()
        else:
            self.credentials = await read_credentials(self.config, self.context)
        self.server = self.credentials.server

    async def ssl_context(self) -> ssl.SSLContext | bool:
        return self.credentials.tls if self.credentials else True


class _Api(Api):  # type: ignore[misc]
    """kr8s' client, whose sessions have the headers and the proxy of the login."""

    _session: httpx.AsyncClient | None

    async def _create_session(self) -> None:
        if self._session:
            with contextlib.suppress(RuntimeError):
                await self._session.aclose()
        credentials: Credentials = self.auth.credentials
        headers = [("User-Agent", self.__version__), ("Content-Type", "application/json"), *credentials.headers]
        self._session = httpx.AsyncClient(
            base_url=credentials.server,
            # As bytes: a name may have letters beyond ASCII.
            headers=[(name.encode(), value.encode()) for name, value in headers],
            verify=credentials.tls,
            timeout=self._timeout,
            follow_redirects=True,
            proxy=credentials.proxy,
            trust_env=False,
        )


async def log_in(config: Kubeconfig | None, context: str) -> Any:
    """Logs in and returns a client of kr8s that has reached the API server.

    Args:
        config: the kubeconfig files; None: the ServiceAccount of this pod.
        context: name of the context; empty for a ServiceAccount.
    """
    api = _Api(bypass_factory=True, kubeconfig=False, namespace="default", context=context)
    api.auth = _Login(config, context)
    try:
        return await api
    except BaseException as error:
        if api._session is not None:
            await api._session.aclose()
        credentials = api.auth.credentials
        if isinstance(error, httpx.TransportError) and credentials is not None and credentials.proxy:
            # Without its user and password.
            proxy = httpx.URL(credentials.proxy).copy_with(userinfo=b"")
            raise httpx.ProxyError(f"{reason(error)} (through the proxy {proxy})") from error
        raise
