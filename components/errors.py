"""The one error of the program that a person is meant to read."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

import pulumi


class StackError(pulumi.RunError):
    """Stops the program before anything is registered; Pulumi shows the message without a traceback."""


def end_without_a_traceback() -> None:
    """The engine interrupts the program once an update has failed; Python's own answer to that hides the real error."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(1))


def refuse(heading: str, problems: Sequence[str]) -> None:
    """Raises StackError with all `problems`, one a line, if there are any."""
    if problems:
        raise StackError("\n".join([heading, *(f"  - {problem}" for problem in problems)]))
