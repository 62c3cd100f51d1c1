"""Who may ask: the cluster's token for programs, a cookie for the browser of this machine. No input and output.

A browser gets its cookie by a one-time key in the opened URL. A key that was used, or is older than a minute, opens
nothing: the URL in the history of the browser is no secret.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import threading
import time
from collections.abc import Awaitable, Callable

KEY_SECONDS = 60.0
SESSION_SECONDS = 12 * 3600.0
# Between two looks for a new token, so that wrong tokens make no load.
REFRESH_SECONDS = 1.0
# Of keys and of sessions: the oldest go first.
MOST = 1000


class Access:
    """The secrets of one server. They are in memory only: after a restart the page is opened anew.

    Args:
        token: Returns the token that programs send as `Authorization: Bearer`, or None if there is none: then only
            a browser with a cookie gets an answer. It is called at each request, because a token is rotated.
        now: A clock in seconds that does not jump.
        refresh: Reads the token anew, for the next call of `token`. It is called if a request has another token.
        is_open: Everyone who reaches the server may read. For a cluster without token authentication, whose own
            dashboard is open too.
    """

    def __init__(
        self,
        token: Callable[[], str | None] = lambda: None,
        now: Callable[[], float] = time.monotonic,
        *,
        refresh: Callable[[], Awaitable[None]] | None = None,
        is_open: bool = False,
    ) -> None:
        self._token = token
        self._now = now
        self._refresh = refresh
        self._refreshed_at = float("-inf")
        self._refreshing = asyncio.Lock()
        self.is_open = is_open
        self._lock = threading.Lock()
        self._keys: dict[str, float] = {}
        self._sessions: dict[str, float] = {}
        # Cookies of one host are the same for all its ports, so two servers need two names.
        self.cookie = f"rayjobs_page_{secrets.token_hex(4)}"

    def new_path(self) -> str:
        """Returns the path that opens the page once, such as `/open?key=...`."""
        key = secrets.token_urlsafe(32)
        with self._lock:
            self._add(self._keys, key, KEY_SECONDS)
        return f"/open?key={key}"

    def use_key(self, key: str) -> str | None:
        """Returns the value of a new cookie for a key that is valid, and makes the key useless. Else None."""
        with self._lock:
            if not self._is_valid(self._keys, key):
                return None
            del self._keys[key]
            session = secrets.token_urlsafe(32)
            self._add(self._sessions, session, SESSION_SECONDS)
        return session

    def is_session(self, value: str | None) -> bool:
        """Whether a cookie is one that `use_key` gave."""
        with self._lock:
            return value is not None and self._is_valid(self._sessions, value)

    async def is_token_now(self, header: str) -> bool:
        """Whether an `Authorization` header has the token. If it has another one, the token is read anew first."""
        if self.is_token(header):
            return True
        if self._refresh is None:
            return False
        async with self._refreshing:  # Of many requests at once, one reads it for all.
            if not self.is_token(header) and self._now() >= self._refreshed_at + REFRESH_SECONDS:
                await self._refresh()
                self._refreshed_at = self._now()
        return self.is_token(header)

    def is_token(self, header: str) -> bool:
        """Whether an `Authorization` header has the token."""
        scheme, _, given = header.partition(" ")
        token = self._token()
        if not token or scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(given.strip().encode(), token.encode())

    def _add(self, known: dict[str, float], value: str, seconds: float) -> None:
        now = self._now()
        for old in [each for each, until in known.items() if until <= now] + list(known)[: len(known) - MOST + 1]:
            known.pop(old, None)
        known[value] = now + seconds

    def _is_valid(self, known: dict[str, float], value: str) -> bool:
        return known.get(value, 0.0) > self._now()
