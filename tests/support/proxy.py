"""A TCP proxy that misbehaves on request: it cuts, delays, pauses, and drops requests or answers.

It parses only as much of HTTP/1.1 as it needs to see one request and its answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType


@dataclass
class Faults:
    """The faults of a proxy. All of them can be changed while the proxy runs.

    `cut_every`: each connection is reset this many seconds after it was opened. `drop_request` / `drop_answer`: the
    request line (e.g. "POST /api/jobs/") decides whether the request never leaves, or its answer never comes back.
    `delay_answer`: seconds before an answer is passed on. `instead`: an answer (whole bytes) in place of the server's.
    `rewrite`: the head of a request as the server gets it, or a whole answer in place of the server's, if it begins
    with HTTP/. `paused`: nothing moves while it is set. `rate`: bytes per second towards the client.
    """

    cut_every: float | None = None
    drop_request: Callable[[str], bool] = field(default=lambda _line: False)
    drop_answer: Callable[[str], bool] = field(default=lambda _line: False)
    delay_answer: Callable[[str], float] = field(default=lambda _line: 0.0)
    instead: Callable[[str], bytes | None] = field(default=lambda _line: None)
    rewrite: Callable[[bytes], bytes] = field(default=lambda head: head)
    paused: bool = False
    rate: float | None = None


@dataclass
class _Answering:
    """The faults of the answer to a connection's latest request."""

    dropped: bool = False
    not_before: float = 0.0


class Proxy:
    """Forwards a port of 127.0.0.1 to `host:port`. `requests` are the request lines, `heads` the requests without their
    bodies, `cuts` counts resets."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.target = host, port
        self.faults = Faults()
        self.requests: list[str] = []
        self.heads: list[bytes] = []
        self.cuts = 0
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Proxy:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def heal(self) -> None:
        """Ends all faults."""
        self.faults = Faults()

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            limit = self.faults.cut_every
            await asyncio.wait_for(self._serve(reader, writer), limit)
        except asyncio.TimeoutError:
            self.cuts += 1
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        back: asyncio.Task[None] | None = None
        answering = _Answering()
        try:
            while True:
                head = await self._head(reader)
                if head is None:
                    return
                line = head.split(b"\r\n", 1)[0].decode("latin-1").rsplit(" ", 1)[0]
                self.requests.append(line)
                self.heads.append(head)
                body = await reader.readexactly(_content_length(head)) if _content_length(head) else b""
                answer = self.faults.instead(line)
                head = self.faults.rewrite(head)
                if head.startswith(b"HTTP/"):
                    answer = head
                if answer is not None:
                    writer.write(answer)
                    writer.close()
                    await writer.wait_closed()
                    return
                if self.faults.drop_request(line):
                    return
                answering.dropped = self.faults.drop_answer(line)
                answering.not_before = asyncio.get_running_loop().time() + self.faults.delay_answer(line)
                await self._unpaused()
                if upstream is None or back is None:
                    upstream = await asyncio.open_connection(self.host, self.target)
                    back = asyncio.ensure_future(self._back(upstream[0], writer, answering))
                upstream[1].write(head + body)
                await upstream[1].drain()
                if answering.dropped:
                    # The server finishes its work before the connection is closed.
                    await asyncio.wait({back}, timeout=30)
                    return
                if back.done():
                    return
        finally:
            if back is not None:
                back.cancel()
                with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                    await back
            if upstream is not None:
                upstream[1].transport.abort()

    async def _head(self, reader: asyncio.StreamReader) -> bytes | None:
        try:
            return await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answering: _Answering) -> None:
        while data := await reader.read(64 * 1024):
            if answering.dropped:
                return
            await self._unpaused()
            await asyncio.sleep(answering.not_before - asyncio.get_running_loop().time())
            if self.faults.rate is not None:
                await asyncio.sleep(len(data) / self.faults.rate)
            writer.write(data)
            await writer.drain()
        writer.close()

    async def _unpaused(self) -> None:
        while self.faults.paused:
            await asyncio.sleep(0.05)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    return 0


def answer(
    status: int,
    body: str | bytes,
    content_type: str = "application/json",
    length: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """A whole HTTP answer; `length` other than the body's makes it one that is cut off."""
    raw = body.encode() if isinstance(body, str) else body
    size = length or len(raw)
    # The proxy closes the connection after it, which a client has to know before it sends the next request.
    head = f"HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Type: {content_type}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    head += f"Content-Length: {size}\r\n\r\n"
    return head.encode() + raw


def header_of(head: bytes, name: str) -> list[str]:
    """The values of a header in the head of a request; one that is there twice has two."""
    lines = [line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:]]
    return [value.strip() for key, _, value in lines if key.strip().lower() == name.lower()]


def basic_proxy(credentials: str, *, passes: tuple[str, ...] = ("x-ray-authorization",)) -> Callable[[bytes], bytes]:
    """A `rewrite` like that of nginx with `auth_basic`: it requires the credentials, and keeps its Authorization to
    itself.

    Args:
        credentials: The value of Authorization that is accepted.
        passes: Which of the two headers the server gets.
    """

    def rewrite(head: bytes) -> bytes:
        if header_of(head, "authorization") != [credentials]:
            return answer(401, "<html>401</html>", "text/html", headers={"WWW-Authenticate": 'Basic realm="ray"'})
        removed = {"authorization", "x-ray-authorization"} - set(passes)
        lines = [line for line in head.split(b"\r\n") if line.split(b":")[0].decode("latin-1").lower() not in removed]
        return b"\r\n".join(lines)

    return rewrite


@contextmanager
def server(body: bytes) -> Iterator[Proxy]:
    """A server that gives the same answer to everything."""
    with Proxy("127.0.0.1", 9) as running:
        running.faults = Faults(instead=lambda _line: body)
        yield running


def times(count: int, matches: Callable[[str], bool]) -> Callable[[str], bool]:
    """True for the first `count` lines that match, false afterwards."""
    left = count

    def decide(line: str) -> bool:
        nonlocal left
        if left > 0 and matches(line):
            left -= 1
            return True
        return False

    return decide
