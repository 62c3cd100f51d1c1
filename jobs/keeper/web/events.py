"""The events of the store as a stream (`text/event-stream`), which a browser resumes by itself where it broke."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool

from ...ledger.kept import Event

if TYPE_CHECKING:
    from ...ledger.kept import KeptJobs

# How often the store is asked, and how often a stream without events shows that it lives.
POLL_SECONDS = 1.0
BEAT_SECONDS = 15.0
# In the scope of a request: whether the server ends. A stream has no other end.
HAS_ENDED = "rayjobs.has_ended"
# Streams at once.
MOST_STREAMS = 100
_AT_ONCE = 1000


def as_text(event: Event) -> str:
    """Returns an event as the stream has it."""
    data = {"seq": event.seq, "at": event.at, "kind": event.kind, "submission_id": event.submission_id}
    return f"id: {event.seq}\ndata: {json.dumps({**data, 'data': event.data})}\n\n"


async def stream(
    kept: KeptJobs,
    after: int | None,
    is_wanted: Callable[[Event], bool],
    has_ended: Callable[[], bool] = lambda: False,
) -> AsyncIterator[str]:
    """Yields events in order, each once, until the server ends.

    Old events are removed. Who asks for more than there are gets an event of the kind `missed` first, and has to read
    the jobs anew.

    Args:
        kept: The store.
        after: The number of the newest event that the reader has; None: only what happens from now on.
        is_wanted: Whether an event is sent.
        has_ended: Whether the server ends.
    """
    newest = await run_in_threadpool(kept.newest_event)
    first = await run_in_threadpool(kept.events, 0, 1)
    oldest = first[0].seq if first else newest + 1
    # Only now: who reads this misses nothing of what happens afterwards.
    yield "retry: 2000\n\n"
    if after is None:
        after = newest
    elif not oldest - 1 <= after <= newest and after > 0:
        # Events were removed, or another database began.
        yield as_text(Event(newest, time.time(), "missed", None, {}))
        after = newest
    silent = 0.0
    while not has_ended():
        events = await run_in_threadpool(kept.events, after, _AT_ONCE)
        text = "".join(as_text(event) for event in events if is_wanted(event))
        after = events[-1].seq if events else after
        if text:
            silent = 0.0
            yield text
        elif silent >= BEAT_SECONDS:
            silent = 0.0
            yield ": the stream lives\n\n"
        if len(events) < _AT_ONCE:
            await asyncio.sleep(POLL_SECONDS)
            silent += POLL_SECONDS
