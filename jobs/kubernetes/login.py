"""kr8s' login, without the files that it leaves: keys of a kubeconfig are on disk only while they are read."""

from __future__ import annotations

import asyncio
import functools
import ssl
import tempfile
from types import FunctionType
from typing import Any

from kr8s._api import Api
from kr8s._async_utils import NamedTemporaryFile
from kr8s._auth import KubeAuth


class _Login(KubeAuth):  # type: ignore[misc]
    """Reads inline keys and certificates through a private folder, which is gone when the login ends or fails.

    kr8s writes them to files, because Python's ssl reads only files, and never removes them. Every login goes through
    `reauthenticate`: the first, the ones after a 401, and those that kr8s makes by itself.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._folder = ""
        self._tls: ssl.SSLContext | bool = True
        self._one_login = asyncio.Lock()

    async def reauthenticate(self) -> None:
        async with self._one_login:
            # Files of the last login no longer exist.
            self.client_key_file = self.client_cert_file = self.server_ca_file = None
            with tempfile.TemporaryDirectory(prefix="rayjobs-") as self._folder:
                await super().reauthenticate()
                self._tls = await super().ssl_context()

    async def ssl_context(self) -> ssl.SSLContext | bool:
        return self._tls

    async def _load_kubeconfig(self) -> None:
        # The same function, with another folder for its temporary files.
        load = super()._load_kubeconfig.__func__
        names = {**load.__globals__, "NamedTemporaryFile": functools.partial(NamedTemporaryFile, dir=self._folder)}
        await FunctionType(load.__code__, names)(self)


async def log_in(**arguments: Any) -> Any:
    """Logs in and returns a client of kr8s that has reached the API server.

    Args:
        arguments: of `kr8s.asyncio.api`.
    """
    api = Api(bypass_factory=True, **arguments)
    api.auth = _Login(**arguments)
    try:
        return await api
    except BaseException:
        if api._session is not None:
            await api._session.aclose()
        raise
