"""Files that this command itself writes while it makes a package, such as the log that its output goes to."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterable
from pathlib import Path

FileId = tuple[int, int]
"""Device and inode."""

# The open descriptors of this process, on Linux and macOS.
_DESCRIPTORS = Path("/dev/fd")
_SQLITE_ENDINGS = ("", "-wal", "-shm", "-journal")


def own_files(databases: Iterable[Path] = ()) -> frozenset[FileId]:
    """Returns the files that this process has open for writing, and those of its SQLite databases.

    Their content changes between the plan and the package, and is no input of the job.
    """
    found = set()
    with contextlib.suppress(OSError):
        for name in os.listdir(_DESCRIPTORS):
            with contextlib.suppress(OSError, ValueError):
                descriptor = int(name)
                if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY:
                    found.add(_regular_file(os.fstat(descriptor)))
    for database in databases:
        for ending in _SQLITE_ENDINGS:
            with contextlib.suppress(OSError):
                found.add(_regular_file(os.stat(f"{database}{ending}")))
    return frozenset(each for each in found if each)


def _regular_file(at: os.stat_result) -> FileId | None:
    return (at.st_dev, at.st_ino) if stat.S_ISREG(at.st_mode) else None
