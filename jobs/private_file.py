"""Files that only this user can read, and whether someone else can have written a file."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Creates a file with mode 0600. Raises FileExistsError if there is one."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def foreign(path: Path) -> str | None:
    """Why a file or directory may be the work of another user of this machine; None: it is this user's, or root's.

    As git since CVE-2022-24765: under sudo, the user who called sudo counts too. Raises OSError.
    """
    status = path.stat()
    trusted = {0, os.geteuid()}
    if os.geteuid() == 0 and os.environ.get("SUDO_UID", "").isdecimal():
        trusted.add(int(os.environ["SUDO_UID"]))
    if status.st_uid not in trusted:
        return f"{path} belongs to another user (uid {status.st_uid})"
    if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
        return f"every user of this machine can write {path}"
    return None
