"""Points in time, pauses between attempts, and the one way to bound an awaitable."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


class Deadline:
    """A point in time; `seconds=None` never comes."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._at = None if seconds is None else time.monotonic() + seconds

    @property
    def left(self) -> float:
        return float("inf") if self._at is None else max(0.0, self._at - time.monotonic())

    @property
    def passed(self) -> bool:
        return self.left <= 0


def pauses(first: float = 0.1, longest: float = 5.0) -> Callable[[], float]:
    """Waits between attempts in seconds: doubling, a little at random so that many clients do not come at once."""
    wait = first

    def pause() -> float:
        nonlocal wait
        now, wait = wait, min(longest, wait * 2)
        return now * random.uniform(0.8, 1.2)

    return pause


async def bounded(work: Awaitable[T], seconds: float) -> T:
    """The awaitable's result, or asyncio.TimeoutError.

    Unlike asyncio.wait_for before Python 3.12 it never loses a cancellation that comes as the work fails: a Ctrl-C
    would be taken for a broken connection, and tried again.
    """
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise
    if not done:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise asyncio.TimeoutError
    return task.result()
