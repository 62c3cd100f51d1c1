"""The terminal behind stdout or stderr: whether there is one, its size, what it can show."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TextIO


def at_terminal(stream: TextIO | None) -> bool:
    """Returns whether a stream is a terminal on which text can be replaced."""
    # sys.stdout or sys.stderr is None if it was closed before the program began.
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


def in_colour(stream: TextIO | None) -> bool:
    """Returns whether a stream may be coloured: see https://no-color.org."""
    return at_terminal(stream) and not os.environ.get("NO_COLOR")


def size_of_stdout() -> os.terminal_size | None:
    """Returns columns and lines of the terminal; None if stdout is not a terminal."""
    return shutil.get_terminal_size() if sys.stdout.isatty() else None
