"""The cache of programs, images and containers: outside the checkout, shared by all checkouts of this user."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .progress import step

_held: list[int] = []


def cache_root() -> Path:
    """Where programs, images and containerd's content stay between runs: `RAY_E2E_CACHE` or the user's cache."""
    if named := os.environ.get("RAY_E2E_CACHE"):
        return Path(named).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "ray-on-kubernetes"


def recipe_digest(*parts: str) -> str:
    """Returns eight hex digits over the texts that decide what a part is: another recipe is another part."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds an exclusive lock on a file, so that two processes do not build the same thing at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with step(f"waiting for another process that holds {path}"):
                fcntl.flock(file, fcntl.LOCK_EX)
        _held.append(file.fileno())
        try:
            yield
        finally:
            _held.remove(file.fileno())


def held_locks() -> tuple[int, ...]:
    """Returns the files of the locks that this process holds, for `pass_fds` of the programs that it starts.

    A compiler outlives a caller that is killed. It holds the lock until it ends, so no second one starts beside it.
    """
    return tuple(_held)


def write_atomically(path: Path, text: str) -> None:
    """Writes a file so that an end at any moment leaves the old content or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text)
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
