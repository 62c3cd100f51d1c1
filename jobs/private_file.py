"""Files that only this user can read, and files that another user of this machine can have written."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Creates a file with mode 0600. Raises FileExistsError if there is one."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def other_owner(path: Path) -> str | None:
    """Whose file or directory it is, if it is neither this user's nor root's. Raises OSError.

    As git since CVE-2022-24765: under sudo, the user who called sudo counts too.
    """
    owner = path.stat().st_uid
    trusted = {0, os.geteuid()}
    if os.geteuid() == 0 and os.environ.get("SUDO_UID", "").isdecimal():
        trusted.add(int(os.environ["SUDO_UID"]))
    return None if owner in trusted else f"{path} belongs to another user (uid {owner})"


def other_writer(path: Path) -> str | None:
    """Returns why another user of this machine can have written the file; None: only this user or root can. Raises
    OSError."""
    if problem := other_owner(path):
        return problem
    return f"every user of this machine can write {path}" if path.stat().st_mode & stat.S_IWOTH else None


def read_regular(path: Path, limit: int) -> bytes | None:
    """Reads at most `limit` bytes of a regular file; None for a pipe, a device or a directory. Raises OSError."""
    # O_NONBLOCK: opening a pipe without a writer must not hang.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with os.fdopen(descriptor, "rb") as file:
        return file.read(limit) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else None
