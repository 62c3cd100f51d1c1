"""Points in time, pauses between attempts, and a time limit for an awaitable."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


class Deadline:
    """A point in time, `seconds` from now; None never comes."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._at = None if seconds is None else time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds until then; 0 if it has passed."""
        return float("inf") if self._at is None else max(0.0, self._at - time.monotonic())

    @property
    def passed(self) -> bool:
        return self.left <= 0

    def sooner(self, seconds: float) -> Deadline:
        """Returns the point in time `seconds` from now, or this one if it comes before."""
        return Deadline(min(seconds, self.left))


class Backoff:
    """Pauses between attempts, until a deadline.

    They double from `first` to `longest` seconds, and vary a little, so that many clients do not come at once.
    """

    def __init__(self, deadline: Deadline | None = None, *, first: float = 0.1, longest: float = 5.0) -> None:
        self.deadline = deadline or Deadline(None)
        self.first, self.longest = first, longest
        self._next = first

    def reset(self) -> None:
        """Makes the next pause the first again."""
        self._next = self.first

    async def pause(self, error: Exception | None = None) -> None:
        """Sleeps until the next attempt. Raises `error` if the deadline would pass before it."""
        seconds = self._next * random.uniform(0.8, 1.2)
        self._next = min(self.longest, self._next * 2)
        if error is not None and self.deadline.left < seconds:
            raise error
        await asyncio.sleep(seconds)


async def bounded(work: Awaitable[T], seconds: float) -> T:
    """Waits for the awaitable and returns its result. Raises asyncio.TimeoutError after `seconds`.

    asyncio.wait_for before Python 3.12 loses a cancellation that comes as the work fails: Ctrl-C would then count as a
    broken connection, and the request would be sent again. This function never loses it.
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
