"""What stands before every route: the host's name, who asks, and the headers of every answer."""

from __future__ import annotations

from collections.abc import Callable, Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .access import Access

LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})
_LOOPBACK_PEERS = frozenset({"127.0.0.1", "::1", "::ffff:127.0.0.1"})
# Metrics have numbers only, as those of Ray itself, which are open too. A scraper with the token could run jobs.
_FOR_ALL = ("/healthz", "/livez", "/metrics", "/open")
_STATIC = "/static/"
# As Ray reads it. A proxy in between may need Authorization for itself.
_TOKEN_HEADERS = ("x-ray-authorization", "authorization")
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
# How a refusal looks: the path, the status, what is wrong, what helps.
Refusal = Callable[[str, int, str, str], Response]


class Guard:
    """Wraps the whole application, its error pages too.

    Args:
        app: The application.
        access: Who may ask.
        hosts: The names under which this server is asked, without ports. A page of another site whose name leads to
            this machine (DNS rebinding) has another name, and is refused.
        refuse: Makes the answer of a refusal.
    """

    def __init__(self, app: ASGIApp, access: Access, hosts: Collection[str], refuse: Refusal) -> None:
        self._app = app
        self._access = access
        self._hosts = frozenset(host.lower() for host in hosts)
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers["Cache-Control"] = "no-cache" if str(scope["path"]).startswith(_STATIC) else "no-store"
            await send(message)

        await (await self._refusal(scope) or self._app)(scope, receive, send_with_headers)

    async def _refusal(self, scope: Scope) -> Response | None:
        headers, path = Headers(scope=scope), str(scope["path"])
        if not self._is_own_host(headers.getlist("host")):
            names = ", ".join(sorted(self._hosts))
            return self._refuse(path, 421, "This server has another host name.", f"It answers to {names}.")
        if path in _FOR_ALL or path.startswith(_STATIC):
            return None
        given = [headers[name] for name in _TOKEN_HEADERS if name in headers]
        if self._access.is_open:
            scope["by_token"] = True
        elif given:
            for each in given:
                if await self._access.is_token_now(each):
                    scope["by_token"] = True
                    return None
            return self._unknown(path, "This token is not the right one.")
        elif not self._has_cookie(scope):
            return self._unknown(path, "This needs the cluster's token, or a browser that `rayjobs page` opened.")
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and headers.get("sec-fetch-mode") != "navigate":
            return self._refuse(path, 403, "A page of another site or another port asks here.", "Open the page itself.")
        return None

    def _has_cookie(self, scope: Scope) -> bool:
        peer = (scope.get("client") or ("", 0))[0]
        return peer in _LOOPBACK_PEERS and self._access.is_session(Request(scope).cookies.get(self._access.cookie))

    def _unknown(self, path: str, message: str) -> Response:
        answer = self._refuse(path, 401, message, "Run `rayjobs page` (again), or send `Authorization: Bearer TOKEN`.")
        answer.headers["WWW-Authenticate"] = "Bearer"
        return answer

    def _is_own_host(self, given: list[str]) -> bool:
        if len(given) != 1:
            return False
        name, colon, port = given[0].strip().lower().rpartition(":")
        if not colon or (":" in name and not name.endswith("]")):
            name, port = given[0].strip().lower(), "0"
        return port.isdecimal() and name in self._hosts
