"""Requests under a signal: whenever it comes, it is the end."""

from __future__ import annotations

import asyncio

from jobs.dashboard.http import HttpClient
from jobs.deadline import Deadline
from tests.support.proxy import Faults, Proxy


def test_a_cancellation_is_never_taken_for_a_broken_connection() -> None:
    """It comes at every moment of a request that fails; one that is lost would let the request be tried again."""

    async def cancelled_after(url: str, seconds: float) -> bool:
        http = HttpClient(url)
        asking = asyncio.ensure_future(http.ask("GET", "/", deadline=Deadline(1.0), parse=lambda response: response))
        await asyncio.sleep(seconds)
        asking.cancel()
        results = await asyncio.gather(asking, return_exceptions=True)
        await http.close()
        return isinstance(results[0], asyncio.CancelledError)

    async def at_every_moment(url: str) -> list[int]:
        return [i for i in range(300) if not await cancelled_after(url, i * 0.00005)]

    with Proxy("127.0.0.1", 9) as server:
        server.faults = Faults(drop_request=lambda _line: True)
        assert asyncio.run(at_every_moment(server.url)) == []
