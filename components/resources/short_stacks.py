"""Less of Python's stack in Pulumi's state."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

# The innermost frames: those of the SDK, those of a component, and the lines of the program that declare the component.
FRAMES = 7


@contextmanager
def short_stacks() -> Iterator[None]:
    """Lets resources that are declared meanwhile record only the innermost frames of the stack.

    The SDK writes each resource's whole stack into the state, down to the interpreter's event loop: a fifth of the
    state. The engine writes the whole state twice for each resource, so that counts with many RayClusters. Tracebacks
    of errors are complete: Python shortens them when it prints them, after the end of the block.
    """
    before = getattr(sys, "tracebacklimit", None)
    sys.tracebacklimit = FRAMES
    try:
        yield
    finally:
        if before is None:
            del sys.tracebacklimit
        else:
            sys.tracebacklimit = before
