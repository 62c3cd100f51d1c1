"""The cache of programs, images and containers: outside the checkout, shared by all checkouts of this user."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
