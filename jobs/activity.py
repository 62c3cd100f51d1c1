"""What this process waits for or works on, for a listener that shows it. Without a listener nothing happens."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from .deadline import Deadline


@dataclass(eq=False)
class Activity:
    """One wait, or one piece of work.

    Attributes:
        text: A clause without a full stop, such as `Waiting for an answer from X`. Empty: nothing is shown while it
            lasts, because another program uses the terminal.
        until: When it is given up; None: never.
        total: The bytes to do; None if there are none, or their number is not known.
        done: The bytes that are done.
        detail: Its state, or the last failure. It may change at any time.
        began: When it began, in seconds of the monotonic clock.
    """

    text: str
    until: Deadline | None = None
    total: int | None = None
    done: int = 0
    detail: str = ""
    began: float = field(default_factory=time.monotonic)

    def set_done(self, done: int, total: int) -> None:
        """Sets the bytes that are done, and their total."""
        self.done, self.total = done, total

    @property
    def seconds(self) -> float:
        """Returns the seconds since it began."""
        return time.monotonic() - self.began


class Listener(Protocol):
    """Shows activities. The calls come from any thread."""

    def started(self, activity: Activity) -> None: ...

    def ended(self, activity: Activity) -> None: ...


_listeners: list[Listener] = []


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Tells the listener about every activity of this process until the end of the context."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


@contextmanager
def activity(text: str, until: Deadline | None = None, *, total: int | None = None) -> Iterator[Activity]:
    """Gives an Activity that lasts until the end of the context. See Activity."""
    current = Activity(text, until, total)
    listeners = list(_listeners)
    for listener in listeners:
        listener.started(current)
    try:
        yield current
    finally:
        for listener in listeners:
            listener.ended(current)
