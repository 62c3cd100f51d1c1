"""What this process waits for or works on, for a listener that shows it. Without a listener nothing happens."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .deadline import Deadline


@dataclass(eq=False)
class Activity:
    """One wait, or one piece of work.

    Attributes:
        text: A clause without a full stop, such as `Waiting for an answer from X`. Empty: nothing is shown.
        until: When it is given up; None: never.
        total: What there is to do, in `unit`; None if that is not known.
        unit: `bytes` or `jobs`.
        done: The part that is done.
        detail: Its state, or the last failure. It may change at any time.
        announced: A line with its text was printed already.
        plain: No line is replaced while it lasts, because another program uses the terminal.
        began: When it began, in seconds of the monotonic clock.
    """

    text: str
    until: Deadline | None = None
    total: int | None = None
    unit: str = "bytes"
    done: int = 0
    detail: str = ""
    announced: bool = False
    plain: bool = False
    began: float = field(default_factory=time.monotonic)

    def restart(self, text: str, until: Deadline | None, *, announced: bool = False) -> None:
        """Begins again, with another text."""
        self.text, self.until, self.announced = text, until, announced
        self.detail, self.began = "", time.monotonic()

    def add(self, amount: int) -> None:
        """Adds to the part that is done."""
        self.done += amount

    @property
    def seconds(self) -> float:
        """Returns the seconds since it began."""
        return time.monotonic() - self.began


class Listener(Protocol):
    """Shows activities. The calls come from any thread."""

    def started(self, activity: Activity) -> None: ...

    def ended(self, activity: Activity) -> None: ...


_listeners: list[Listener] = []
_muted: ContextVar[bool] = ContextVar("muted", default=False)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Tells the listener about every activity of this process until the end of the context."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


@contextmanager
def muted() -> Iterator[None]:
    """Tells no listener about the activities of this task: nobody waits for them."""
    token = _muted.set(True)
    try:
        yield
    finally:
        _muted.reset(token)


@contextmanager
def activity(
    text: str,
    until: Deadline | None = None,
    *,
    total: int | None = None,
    unit: str = "bytes",
    announced: bool = False,
    plain: bool = False,
) -> Iterator[Activity]:
    """Gives an Activity that lasts until the end of the context. See Activity."""
    current = Activity(text, until, total, unit, announced=announced, plain=plain)
    listeners = [] if _muted.get() else list(_listeners)
    for listener in listeners:
        listener.started(current)
    try:
        yield current
    finally:
        for listener in listeners:
            listener.ended(current)
