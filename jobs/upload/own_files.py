"""Files that this command itself writes while it makes a package, such as the log that its output goes to."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path

FileId = tuple[int, int]
"""Device and inode."""

# Standard output and standard error. Not every open descriptor: a program that uses the library may hold a file open
# that its job needs.
_OUTPUTS = (1, 2)
_SQLITE_ENDINGS = ("", "-wal", "-shm", "-journal")


def own_files(databases: Iterable[Path] = ()) -> frozenset[FileId]:
    """Returns the files that standard output and standard error of this process go to, and those of its SQLite
    databases.

    Their content changes between the plan and the package, and is no input of the job.
    """
    places: list[int | str] = [
        *_OUTPUTS,
        *(f"{database}{ending}" for database in databases for ending in _SQLITE_ENDINGS),
    ]
    found = set()
    for place in places:
        with contextlib.suppress(OSError):
            at = os.stat(place)
            if stat.S_ISREG(at.st_mode):
                found.add((at.st_dev, at.st_ino))
    return frozenset(found)
