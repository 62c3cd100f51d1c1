"""Progress for a person, on stderr: stdout belongs to the answers."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

# A step that is silent for longer looks dead. CI systems end a job after minutes without output.
BEAT_SECONDS = 30.0


def say(text: str) -> None:
    """Prints one line."""
    print(f"single node: {text}", file=sys.stderr, flush=True)


@contextmanager
def step(what: str, usually: str = "") -> Iterator[None]:
    """Says what begins and how long it usually takes, every half minute that it goes on, and how long it took.

    Args:
        what: the work, such as `building pulumi v3.274.1`.
        usually: its usual duration on two cores, such as `5 minutes`; empty: seconds.
    """
    say(f"{what}{f' (once; usually {usually} on two cores)' if usually else ''}")
    started, done = time.monotonic(), threading.Event()

    def beat() -> None:
        while not done.wait(BEAT_SECONDS):
            say(f"still {what}, {time.monotonic() - started:.0f} s")

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    say(f"done: {what}, {time.monotonic() - started:.0f} s")  # not after an error
