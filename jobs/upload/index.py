"""Digests of files that were read before, so that an unchanged directory is not read again.

A file counts as unchanged if its size, mtime, ctime and inode are the same. A program cannot set the ctime, so an edit
that restores the mtime is still noticed. A file that was touched less than SETTLED_NS before it was read is not stored:
a second write within the resolution of the clock could leave the same stamps.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

SETTLED_NS = 2_000_000_000
# Also raised when the secret scan finds more: what it found is remembered here.
_SCHEMA = 2


class Stamp(NamedTuple):
    """The properties of a file that tell whether it has changed. Times are in nanoseconds since the epoch."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, stat: os.stat_result) -> Stamp:
        # SQLite's integers are signed 64-bit; some file systems use the top bit of an inode.
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino & (2**63 - 1))

    def settled(self, now_ns: int) -> bool:
        return max(self.mtime_ns, self.ctime_ns) < now_ns - SETTLED_NS


class Entry(NamedTuple):
    """A file that was read before.

    Attributes:
        stamp: The stamp of the file when it was read.
        digest: The 20 bytes of sha1(relative path + content).
        finding: Why the file looks like a secret; None if not.
    """

    stamp: Stamp
    digest: bytes
    finding: str | None


def default_path() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "rayjobs" / "package-index.sqlite"


def load(path: Path, root: str) -> dict[str, Entry]:
    """Reads the entries of the files under `root`. An index that cannot be read counts as empty."""
    try:
        with _open(path) as db:
            rows = db.execute(
                "SELECT path, size, mtime_ns, ctime_ns, inode, digest, finding FROM entry WHERE root = ?", (root,)
            )
            return {row[0]: Entry(Stamp(*row[1:5]), row[5], row[6]) for row in rows}
    except (OSError, sqlite3.Error, UnicodeError):
        return {}


def store(path: Path, root: str, fresh: dict[str, Entry], vanished: Iterable[str], began_ns: int) -> None:
    """Stores the entries of `fresh` that were settled when the reading began, and deletes the others and `vanished`.

    If this fails, the files are only read again next time.
    """
    deleted = [(root, name) for name in vanished]
    deleted += [(root, name) for name, entry in fresh.items() if not entry.stamp.settled(began_ns)]
    rows = [
        (root, name, e.stamp.size, e.stamp.mtime_ns, e.stamp.ctime_ns, e.stamp.inode, e.digest, e.finding)
        for name, e in fresh.items()
        if e.stamp.settled(began_ns)
    ]
    if not rows and not deleted:
        return
    with contextlib.suppress(OSError, sqlite3.Error, UnicodeError), _open(path) as db:
        db.executemany("DELETE FROM entry WHERE root = ? AND path = ?", deleted)
        db.executemany("INSERT OR REPLACE INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)


@contextlib.contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    db = sqlite3.connect(path, timeout=2)
    try:
        try:
            version = db.execute("PRAGMA user_version").fetchone()[0]
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            # It is damaged. It contains nothing that cannot be read again.
            db.close()
            path.unlink()
            db = sqlite3.connect(path, timeout=2)
            version = 0
        if version != _SCHEMA:
            db.executescript(
                "DROP TABLE IF EXISTS entry;"
                "CREATE TABLE entry (root TEXT, path TEXT, size INT, mtime_ns INT, ctime_ns INT, inode INT,"
                " digest BLOB, finding TEXT, PRIMARY KEY (root, path)) WITHOUT ROWID;"
                f"PRAGMA user_version = {_SCHEMA};"
            )
        with db:
            yield db
    finally:
        db.close()
