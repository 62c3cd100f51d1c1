"""Ends the program with a message, not a traceback."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pulumi

from components.errors import StackError


@contextmanager
def readable_errors() -> Iterator[None]:
    """Ends the program with the message of a StackError, and without a traceback."""
    # After a failed update the engine interrupts the program. Python's own traceback would hide the real error.
    signal.signal(signal.SIGINT, lambda *_: os._exit(1))
    try:
        yield
    except StackError as error:
        raise pulumi.RunError(str(error)) from error
