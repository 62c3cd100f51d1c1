"""HTTP with a deadline for everything, retries only if they are safe, and one clear message for each failure."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ..activity import activity
from ..deadline import Backoff, Deadline, bounded
from ..errors import JobsError, NotAllowed, Refused, ServerFault, Unreachable
from ..spec.levels import check_levels
from ..spec.shown import shown
from ._httpx import httpx
from .http_errors import (
    AUTHORIZATION,
    ERROR_HEADERS,
    LOCATION,
    RAY_AUTHORIZATION,
    UnusableAnswer,
    error_of_response,
)

T = TypeVar("T")

REQUEST_SECONDS = 30.0
CONNECT_SECONDS = 10.0
# How long a connection that fails is tried again if the server was never reached. Patience is for one that was.
FIRST_CONTACT_SECONDS = 5.0
# Statuses that may pass: a proxy or an overloaded server answers with them for a moment.
TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
# A 500 of Ray is a traceback, and often permanent: it is retried only so often.
MAX_SERVER_FAULTS = 3
# The largest answers, in bytes. A server, or a proxy before it, must not fill this machine's memory.
MOST_BYTES = 8 * 1024**2
MOST_ERROR_BYTES = 1024**2


class NotConnected(Unreachable):
    """No connection was made, so nothing was sent: it was refused, the name does not resolve, or TLS failed."""


class _Transport(httpx.AsyncHTTPTransport):
    """Hides the target of a redirect from httpx, which follows none here but fails at a target that it cannot read."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        if location := response.headers.pop("location", None):
            response.extensions[LOCATION] = location
        return response


class HttpClient:
    """One server: base URL, headers (the token among them), TLS, a connection pool.

    Attributes:
        reached: Whether a connection was ever made.

    Args:
        base_url: http or https.
        token: Read before the first request, and again after a 401 or 403, so that a rotated token is followed.
        headers: Sent with every request, as the user named them: no header of this client takes their place.
        verify: See `tls_context`.
        where: The name of the server in messages; the URL by default.
        proxy: URL of the proxy that leads to the server; None: there is none.
        proxy_name: The proxy in messages.
        tunnel_error: Returns the tunnel's last error. None: no tunnel, or it works.
        check: Called with the URL before each request; it raises an error if nothing may be sent there.
    """

    def __init__(
        self,
        base_url: str,
        *,
        token: Callable[[], Awaitable[str | None]] | None = None,
        headers: Mapping[str, str] | None = None,
        verify: bool | str = True,
        where: str = "",
        proxy: str | None = None,
        proxy_name: str = "",
        tunnel_error: Callable[[], JobsError | None] = lambda: None,
        check: Callable[[str], None] = lambda _url: None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.where = where or self.base_url
        self.reached = False
        self._proxy_name = proxy_name if proxy else ""
        self._tunnel_error = tunnel_error
        self._check = check
        self._read_token = token
        self._token: str | None = None
        self._token_is_read = token is None
        self._headers = dict(headers or {})
        # Keep-alive probes find a peer that vanished silently while a log stream is idle.
        options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
        if hasattr(socket, "TCP_KEEPIDLE"):
            options += [
                (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
                (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
                (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
            ]
        # Building a TLS context reads every CA of the machine; an http URL needs none.
        tls: bool | ssl.SSLContext = tls_context(verify) if base_url.startswith("https:") else False
        transport = _Transport(
            verify=tls,
            # httpcore looks at all idle connections at each request.
            limits=httpx.Limits(max_connections=64, max_keepalive_connections=8, keepalive_expiry=10),
            socket_options=options,
            proxy=_proxy(proxy) if proxy else None,
        )
        defaults = httpx.Headers({"Accept-Encoding": "identity", "User-Agent": "rayjobs"})
        defaults.update(self._headers)
        self._client = httpx.AsyncClient(
            transport=transport,
            trust_env=False,
            headers=defaults,
            timeout=httpx.Timeout(REQUEST_SECONDS, connect=CONNECT_SECONDS),
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def _authorization(self) -> dict[str, str]:
        self._check(self.base_url)
        if not self._token_is_read and self._read_token is not None:
            self._token = await self._read_token()
            self._token_is_read = True
        return {} if self._token is None else token_headers(self._token, self._headers)

    async def _token_changed(self) -> bool:
        """Reads the token again; whether it is a different one now."""
        if self._read_token is None:
            return False
        before, self._token = self._token, await self._read_token()
        return self._token != before

    async def once(
        self,
        method: str,
        path: str,
        *,
        seconds: float = REQUEST_SECONDS,
        headers: Mapping[str, str] | None = None,
        most: int = MOST_BYTES,
        **options: Any,
    ) -> httpx.Response:
        """Sends one request and returns its whole answer within `seconds`, whatever its status.

        Args:
            method: The HTTP method.
            path: The path and the query.
            seconds: Deadline of the request and its answer.
            headers: More headers.
            most: The largest answer, in bytes.
            options: Options of httpx.

        Raises:
            Unreachable, NotAllowed
            ServerFault: The answer is larger, or compressed.
        """
        extra = dict(headers or {})

        async def send() -> httpx.Response:
            request = self._client.build_request(
                method,
                self.base_url + path,
                headers={**extra, **await self._authorization()},
                timeout=httpx.Timeout(seconds, connect=CONNECT_SECONDS),
                **options,
            )
            response = await self._client.send(request, stream=True)
            try:
                return await read_answer(response, self.where, most)
            finally:
                await response.aclose()

        async def send_with_new_token() -> httpx.Response:
            response = await send()
            if response.status_code in (401, 403) and await self._token_changed():
                response = await send()
            return response

        try:
            response = await bounded(send_with_new_token(), seconds)
            self.reached = True
            return response
        except asyncio.TimeoutError:
            raise Unreachable(f"No answer from {self.where} within {seconds:.0f} s ({method} {path}).") from None
        except (httpx.TransportError, OSError) as error:
            raise self._unreachable(f"Could not reach {self.where}", error) from error

    def _unreachable(self, message: str, error: Exception) -> JobsError:
        tunnel_error = self._tunnel_error()
        if isinstance(tunnel_error, NotAllowed):
            return tunnel_error
        if tunnel_error is not None:
            return Unreachable(f"{message}: {tunnel_error.message}", tunnel_error.remedy)
        through = f" through the proxy {self._proxy_name}" if self._proxy_name else ""
        if through:
            remedy = f"If no proxy is needed, set NO_PROXY={urlsplit(self.base_url).hostname}."
        else:
            remedy = "" if self.reached else contact_hint(error)
        remedy = tls_hint(error) or remedy
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError):
            return NotConnected(f"Could not connect to {self.where}{through}: {reason(error)}", remedy)
        self.reached = True
        return Unreachable(f"{message}{through}: {reason(error)}", remedy)

    async def ask(
        self,
        method: str,
        path: str,
        *,
        deadline: Deadline,
        parse: Callable[[httpx.Response], T],
        allowed: tuple[int, ...] = (),
        seconds: float = REQUEST_SECONDS,
        retry: bool = True,
        **options: Any,
    ) -> T:
        """Sends an idempotent request, repeats it as long as the failure may pass, and returns the parsed answer.

        A server that was never reached is tried for FIRST_CONTACT_SECONDS only.

        Args:
            method: An idempotent HTTP method.
            path: The path and the query.
            deadline: The end of all attempts together.
            parse: Reads the answer. A ServerFault that it raises (cut off, not JSON) counts as a failure that may pass.
            allowed: Unsuccessful statuses that `parse` gets; every other one is raised as an error.
            seconds: Deadline of one attempt.
            retry: False: there is one attempt, and its failure is raised.
            options: Options of `once`.

        Raises:
            NotAllowed, Refused, Unreachable, ServerFault
        """
        backoff, faults = Backoff(deadline), 0
        first_contact = Backoff(deadline.sooner(FIRST_CONTACT_SECONDS))
        with activity(f"Waiting for an answer from {self.where}", deadline) as waiting:
            while True:
                try:
                    response = await self.once(method, path, seconds=min(seconds, max(1.0, deadline.left)), **options)
                    if not response.is_success and response.status_code not in allowed:
                        raise error_of_response(response, self.where)
                    return parse(response)
                except ServerFault as error:
                    faults += error.status not in TRANSIENT_STATUSES or error.status == 500
                    if isinstance(error, UnusableAnswer) or error.status == 404 or faults >= MAX_SERVER_FAULTS:
                        raise
                    failure: JobsError = error
                except NotAllowed:
                    raise
                except Unreachable as error:
                    failure = error
                if not retry:
                    raise failure
                waiting.detail = failure.message
                first = isinstance(failure, NotConnected) and not self.reached
                await (first_contact if first else backoff).pause(failure)

    @asynccontextmanager
    async def stream(
        self,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        idle_seconds: float = REQUEST_SECONDS,
        **options: Any,
    ) -> AsyncIterator[httpx.Response]:
        """Sends a GET whose body is read in pieces; `idle_seconds` is the longest silence between two pieces."""

        async def send() -> httpx.Response:
            request = self._client.build_request(
                "GET",
                self.base_url + path,
                headers={**(headers or {}), **await self._authorization()},
                timeout=httpx.Timeout(idle_seconds, connect=CONNECT_SECONDS, pool=CONNECT_SECONDS),
                **options,
            )
            return await self._client.send(request, stream=True)

        try:
            response = await send()
            self.reached = True
            if response.status_code in (401, 403) and await self._token_changed():
                await response.aclose()
                response = await send()
            try:
                if response.is_success:
                    refuse_encoding(response, self.where)
                yield response
            finally:
                await response.aclose()
        except (httpx.TransportError, httpx.StreamError, OSError) as error:
            raise self._unreachable(f"The connection to {self.where} broke", error) from error


def token_headers(token: str, headers: Mapping[str, str]) -> dict[str, str]:
    """Returns Ray's token in both headers that Ray reads, without those that the user sets in `headers`.

    A reverse proxy may keep Authorization for itself, or require its own login in it.
    """
    names = {name.lower() for name in headers}
    return {name: f"Bearer {token}" for name in (AUTHORIZATION, RAY_AUTHORIZATION) if name.lower() not in names}


async def read_answer(response: httpx.Response, where: str, most: int) -> httpx.Response:
    """Reads the answer with its whole body. An error is cut to MOST_ERROR_BYTES, and has no body if it is compressed.

    Raises:
        ServerFault: A successful answer is larger than `most` bytes, or compressed.
    """
    body = bytearray()
    if response.is_success:
        refuse_encoding(response, where)
    if response.is_success or not encoding_of(response):
        async for piece in response.aiter_raw():
            body += piece
            if not response.is_success and len(body) > MOST_ERROR_BYTES:
                del body[MOST_ERROR_BYTES:]
                break
            if len(body) > most:
                raise UnusableAnswer(
                    f"{where} answered {response.request.url.path} with more than {most // 1024**2} MiB.",
                    "No such answer is that large: check the address, and the proxy in front of it.",
                )
    kept = {key: value for key, value in response.headers.items() if key in ERROR_HEADERS}
    return httpx.Response(
        response.status_code,
        headers=kept,
        content=bytes(body),
        request=response.request,
        extensions={LOCATION: response.extensions.get(LOCATION)},
    )


def encoding_of(response: httpx.Response) -> str:
    """Returns the compression of the answer; empty if it has none."""
    encoding = str(response.headers.get("content-encoding", "")).strip().lower()
    return "" if encoding == "identity" else encoding


def refuse_encoding(response: httpx.Response, where: str) -> None:
    """Raises ServerFault for a compressed answer: its decompressed size is unknown, and compression was not
    requested."""
    if encoding := encoding_of(response):
        raise UnusableAnswer(
            f"{where} compressed its answer ({shown(encoding, 40)}), although `Accept-Encoding: identity` was sent.",
            "Check the address, and turn off compression in the proxy in front of it.",
        )


def tls_context(verify: bool | str) -> ssl.SSLContext:
    """Builds the TLS context. True: the machine's CAs. False: nothing is verified. A path: a CA file or directory.
    Raises Refused."""
    if verify is False:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    if isinstance(verify, str):
        try:
            is_directory = os.path.isdir(verify)
            return ssl.create_default_context(
                cafile=None if is_directory else verify, capath=verify if is_directory else None
            )
        except (OSError, ssl.SSLError) as error:
            raise Refused(f"--verify {verify}: {reason(error)}", "Name a file with CA certificates in PEM.") from error
    return ssl.create_default_context()


def reason(error: BaseException) -> str:
    """Returns the cause in a few words: many of httpx' errors have no text of their own."""
    text = str(error).strip()
    if isinstance(error, httpx.ConnectTimeout):
        return f"no connection within {CONNECT_SECONDS:.0f} s"
    if isinstance(error, httpx.ConnectError):
        return _connect_reason(error) or text
    if isinstance(error, httpx.TimeoutException):
        return text or "no data in time"
    return text or type(error).__name__


def _connect_reason(error: BaseException) -> str:
    """Returns the system's reason, which httpx hides behind its own errors; empty if there is none."""
    cause = _system_error(error)
    if isinstance(cause, socket.gaierror):
        return f"the host name does not resolve ({cause.strerror})"
    if isinstance(cause, ConnectionRefusedError):
        return "nothing listens there (connection refused)"
    return cause.strerror or "" if cause is not None else ""


def _system_error(error: BaseException | None) -> OSError | None:
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None and not isinstance(error, ssl.SSLError):
            return error
        error = error.__cause__ or error.__context__
    return None


def contact_hint(error: BaseException) -> str:
    """Returns the remedy for a first contact that failed; empty if it is not known."""
    cause = _system_error(error)
    if isinstance(cause, ConnectionRefusedError):
        return "Check the host and the port of --address: the dashboard has port 8265 by default. Does Ray run there?"
    if isinstance(cause, socket.gaierror):
        return "Check the host name of --address. Is a VPN needed?"
    return ""


def tls_hint(error: BaseException) -> str:
    """Returns the remedy for a certificate that is not trusted; empty for other errors."""
    if "CERTIFICATE_VERIFY_FAILED" not in str(error):
        return ""
    return (
        "This machine does not trust its certificate: name the CA with --verify FILE "
        "(or --verify false, at your own risk)."
    )


def _proxy(url: str) -> httpx.Proxy:
    """A proxy with https needs a certificate of the machine's CAs, whatever --verify says of the server."""
    return httpx.Proxy(url, ssl_context=tls_context(True) if url.startswith("https:") else None)


def read_json(body: bytes) -> Any:
    """Reads JSON of any form. Raises ValueError if it is none, or nested too deeply."""
    value = json.loads(body, parse_constant=_refuse_constant)
    check_levels(value)
    return value


def json_of(response: httpx.Response, where: str) -> Any:
    """Reads the answer's JSON. Raises ServerFault if it is something else, or cut off."""
    return parsed(response, where, read_json)


def parsed(response: httpx.Response, where: str, read: Callable[[bytes], T]) -> T:
    """Reads the answer's JSON with `read`, which raises ValueError for what it cannot read. Raises as `json_of`."""
    kind = response.headers.get("content-type", "").split(";")[0]
    if kind and kind != "application/json":
        raise ServerFault(
            f"{where} answered with {shown(kind, 80)}, not with JSON: this is not Ray's Jobs API.",
            "Check the address.",
            status=response.status_code,
            body=response.text,
        )
    try:
        return read(response.content)
    except (ValueError, RecursionError) as error:
        raise ServerFault(
            f"{where} answered with JSON that cannot be read (cut off?): {shown(str(error), 200)}",
            status=response.status_code,
            body=response.text,
        ) from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
