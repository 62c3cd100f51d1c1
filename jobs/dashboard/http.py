"""HTTP with a deadline on everything, retries where they are safe, and one clear message for each kind of failure."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from ..deadline import Deadline, bounded, pauses
from ..errors import JobsError, NotAllowed, PackageTooLarge, Refused, ServerFault, Unreachable
from ._httpx import httpx

T = TypeVar("T")

REQUEST_SECONDS = 30.0
# Statuses that a proxy or a server in trouble gives for a moment.
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
# A 500 of Ray's is a traceback: often for good. It is asked again a few times only.
PATIENCE_WITH_500 = 3


class Http:
    """One server: base URL, headers (the token among them), TLS, a connection pool.

    `token` is asked for before the first request and again after a 401 or 403, so that a rotated token is followed.
    `trouble` tells what is wrong on the way, where the connection leads through a tunnel that knows it.
    """

    def __init__(
        self,
        base_url: str,
        *,
        token: Callable[[], Awaitable[str | None]] | None = None,
        headers: Mapping[str, str] | None = None,
        verify: bool | str = True,
        where: str = "",
        trouble: Callable[[], JobsError | None] = lambda: None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.where = where or self.base_url
        self._trouble = trouble
        self._token_source = token
        self._token: str | None = None
        self._token_read = token is None
        # Keep-alive probes find a peer that vanished without a word while a log stream is silent.
        options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
        if hasattr(socket, "TCP_KEEPIDLE"):
            options += [
                (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
                (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
                (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
            ]
        # Building a TLS context reads every CA of the machine; a plain URL needs none.
        tls: bool | ssl.SSLContext = tls_context(verify) if base_url.startswith("https:") else False
        transport = httpx.AsyncHTTPTransport(
            verify=tls, limits=httpx.Limits(max_connections=64, keepalive_expiry=10), socket_options=options
        )
        self._client = httpx.AsyncClient(
            transport=transport,
            trust_env=False,
            headers={"Accept-Encoding": "identity", "User-Agent": "rayjobs", **(headers or {})},
            timeout=httpx.Timeout(REQUEST_SECONDS, connect=10.0),
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def _authorization(self) -> dict[str, str]:
        if not self._token_read and self._token_source is not None:
            self._token = await self._token_source()
            self._token_read = True
        if self._token is None:
            return {}
        # A reverse proxy may keep Authorization for itself; Ray reads the second header too.
        return {"Authorization": f"Bearer {self._token}", "X-Ray-Authorization": f"Bearer {self._token}"}

    async def _token_changed(self) -> bool:
        """Reads the token again; true if it is another one than before."""
        if self._token_source is None:
            return False
        before, self._token = self._token, await self._token_source()
        return self._token != before

    async def once(
        self,
        method: str,
        path: str,
        *,
        seconds: float = REQUEST_SECONDS,
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> httpx.Response:
        """One request and its whole answer within `seconds`, any status. Raises Unreachable when none came."""
        extra = dict(headers or {})

        async def send() -> httpx.Response:
            return await self._client.request(
                method,
                self.base_url + path,
                headers={**extra, **await self._authorization()},
                timeout=httpx.Timeout(seconds, connect=10.0),
                **options,
            )

        async def ask() -> httpx.Response:
            response = await send()
            if response.status_code in (401, 403) and await self._token_changed():
                response = await send()
            return response

        try:
            return await bounded(ask(), seconds)
        except asyncio.TimeoutError:
            raise Unreachable(f"No answer from {self.where} within {seconds:.0f} s ({method} {path}).") from None
        except (httpx.TransportError, OSError) as error:
            raise self._broken(f"Cannot reach {self.where}", error) from error

    def _broken(self, what: str, error: Exception) -> JobsError:
        trouble = self._trouble()
        if isinstance(trouble, NotAllowed):
            return trouble
        if trouble is not None:
            return Unreachable(f"{what}: {trouble.what}", trouble.remedy)
        return Unreachable(f"{what}: {reason(error)}", hint(error))

    async def ask(
        self,
        method: str,
        path: str,
        *,
        deadline: Deadline,
        parse: Callable[[httpx.Response], T],
        allowed: tuple[int, ...] = (),
        seconds: float = REQUEST_SECONDS,
        **options: Any,
    ) -> T:
        """What `parse` makes of the answer to an idempotent request.

        Repeated while the failure may pass and the deadline has not; an answer that `parse` raises ServerFault on
        (cut off, not JSON) counts as one. Statuses in `allowed` go to `parse` too; all others are raised as errors.
        """
        pause, faults = pauses(), 0
        while True:
            try:
                response = await self.once(method, path, seconds=min(seconds, max(1.0, deadline.left)), **options)
                if not response.is_success and response.status_code not in allowed:
                    raise fault(response, self.where)
                return parse(response)
            except ServerFault as error:
                faults += error.status not in PASSING or error.status == 500
                if error.status == 404 or faults >= PATIENCE_WITH_500:
                    raise
                caught: JobsError = error
            except NotAllowed:
                raise
            except Unreachable as error:
                caught = error
            wait = pause()
            if deadline.left < wait:
                raise caught
            await asyncio.sleep(wait)

    @asynccontextmanager
    async def stream(
        self,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        idle_seconds: float = REQUEST_SECONDS,
        **options: Any,
    ) -> AsyncIterator[httpx.Response]:
        """A GET whose body is read in pieces; `idle_seconds` is the longest silence between two pieces."""

        async def send() -> httpx.Response:
            request = self._client.build_request(
                "GET",
                self.base_url + path,
                headers={**(headers or {}), **await self._authorization()},
                timeout=httpx.Timeout(idle_seconds, connect=10.0, pool=10.0),
                **options,
            )
            return await self._client.send(request, stream=True)

        try:
            response = await send()
            if response.status_code in (401, 403) and await self._token_changed():
                await response.aclose()
                response = await send()
            try:
                yield response
            finally:
                await response.aclose()
        except (httpx.TransportError, httpx.StreamError, OSError) as error:
            raise self._broken(f"The connection to {self.where} broke", error) from error


def tls_context(verify: bool | str) -> ssl.SSLContext:
    """`verify`: True (the machine's CAs), False (nothing), or the path of a CA file or directory."""
    if verify is False:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    if isinstance(verify, str):
        try:
            import os

            is_directory = os.path.isdir(verify)
            return ssl.create_default_context(
                cafile=None if is_directory else verify, capath=verify if is_directory else None
            )
        except (OSError, ssl.SSLError) as error:
            raise Refused(f"--verify {verify}: {reason(error)}", "Name a file with CA certificates in PEM.") from error
    return ssl.create_default_context()


def reason(error: BaseException) -> str:
    """The cause in a few words: many of httpx' errors have no text of their own."""
    text = str(error).strip()
    if isinstance(error, httpx.ConnectTimeout):
        return "no connection within 10 s"
    if isinstance(error, httpx.TimeoutException):
        return text or "no data in time"
    return text or type(error).__name__


def hint(error: BaseException) -> str:
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return (
            "Its certificate is not trusted here: name the CA with --verify FILE (or --verify false, at your own risk)."
        )
    if "Name or service not known" in text or "nodename nor servname" in text or "getaddrinfo" in text:
        return "The host's name cannot be resolved: check --address."
    return ""


def last_line(body: str) -> str:
    """What a server's traceback comes down to."""
    lines = [line.strip() for line in body.splitlines() if line.strip() and line.strip() != "."]
    return lines[-1][:500] if lines else ""


def fault(response: httpx.Response, where: str) -> JobsError:
    """The error that an unsuccessful answer stands for."""
    status, body = response.status_code, response.text
    kind = response.headers.get("content-type", "").split(";")[0]
    if status == 401:
        return NotAllowed(
            f"{where} wants a token (HTTP 401).",
            "With --address: set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH, or name a file with --token-file.",
        )
    if status == 403:
        return NotAllowed(
            f"{where} refuses this token (HTTP 403).", "It may have been rotated or belong to another cluster."
        )
    if status == 404:
        return ServerFault(
            f"{where} has no Ray Jobs API at this path (HTTP 404).",
            "Check the address: it is the one that the dashboard has, without /api.",
            status=status,
            body=body,
        )
    if status == 413:
        return PackageTooLarge(f"{where} refuses a body of this size (HTTP 413).", TOO_LARGE_REMEDY)
    if status == 400:
        return Refused(f"{where} refuses the request: {last_line(body)}")
    if kind == "text/html":
        return ServerFault(
            f"{where} answered HTTP {status} with a web page: a proxy in between, not Ray.",
            "Check the address and what stands in front of it.",
            status=status,
            body=body,
        )
    return ServerFault(f"{where} answered HTTP {status}: {last_line(body)}", status=status, body=body)


TOO_LARGE_REMEDY = "See what is large with `submit --plan`, and leave it out with .rayignore or runtime_env's excludes."


def json_of(response: httpx.Response, where: str) -> Any:
    """The answer's JSON; ServerFault if it is something else or cut off."""
    kind = response.headers.get("content-type", "").split(";")[0]
    if kind and kind != "application/json":
        raise ServerFault(
            f"{where} answered with {kind}, not with JSON: this is not Ray's Jobs API.",
            "Check the address.",
            status=response.status_code,
            body=response.text,
        )
    try:
        return response.json()
    except ValueError as error:
        raise ServerFault(
            f"{where} answered with JSON that cannot be read (cut off?): {error}",
            status=response.status_code,
            body=response.text,
        ) from error
