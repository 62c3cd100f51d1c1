"""A program whose stderr, or stdout too, is a terminal."""

from __future__ import annotations

import os
import pty
import struct
import subprocess
import termios
import threading
from collections.abc import Mapping, Sequence
from fcntl import ioctl
from pathlib import Path


def run_at_terminal(
    words: Sequence[str], cwd: Path, environ: Mapping[str, str], *, stdout: bool = False, columns: int = 120
) -> tuple[int, bytes, bytes]:
    """Runs a program to its end. Returns its exit code, its stdout, and what came to the terminal."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    shown = bytearray()

    def read() -> None:
        try:
            while piece := os.read(ours, 1 << 16):
                shown.extend(piece)
        except OSError:  # The last one that had the terminal open has closed it.
            pass

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    with subprocess.Popen(
        words,
        cwd=cwd,
        env={"TERM": "xterm-256color", **environ, "COLUMNS": ""},
        stdin=subprocess.DEVNULL,
        stdout=theirs if stdout else subprocess.PIPE,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        out = process.stdout.read() if process.stdout else b""
        code = process.wait(120)
    reader.join(10)
    os.close(ours)
    return code, out, bytes(shown)
