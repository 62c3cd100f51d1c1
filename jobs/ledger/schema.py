"""The ledger's tables and their migrations.

No journal mode that needs shared memory is used, because home directories are often on NFS.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

BUSY_SECONDS = 5.0

# One script for each schema version, never changed after a release. The file's user_version counts those that have run.
_MIGRATIONS = (
    """
    CREATE TABLE submission (
        n INTEGER PRIMARY KEY, submission_id TEXT NOT NULL, identity TEXT NOT NULL, kind TEXT NOT NULL, stack TEXT,
        cluster TEXT, namespace TEXT, key TEXT, attempt_of TEXT, attempt INTEGER NOT NULL, batch TEXT,
        spec TEXT NOT NULL, withheld TEXT NOT NULL, digest TEXT NOT NULL, package TEXT, working_dir TEXT,
        git_commit TEXT, git_dirty INTEGER, user TEXT NOT NULL, host TEXT NOT NULL, created REAL NOT NULL,
        status TEXT NOT NULL, status_at REAL NOT NULL, driver_exit_code INTEGER, error_type TEXT
    );
    CREATE INDEX submission_by_id ON submission (submission_id, identity);
    CREATE INDEX submission_by_batch ON submission (batch);
    CREATE TABLE status_change (n INTEGER NOT NULL REFERENCES submission, status TEXT NOT NULL, at REAL NOT NULL);
    CREATE INDEX status_change_by_n ON status_change (n);
    CREATE TABLE tail (n INTEGER PRIMARY KEY REFERENCES submission, data BLOB NOT NULL, total INTEGER NOT NULL);
    """,
    # A JSON list.
    "ALTER TABLE submission ADD COLUMN modules TEXT NOT NULL DEFAULT '[]'",
)


@contextlib.contextmanager
def open_database(path: Path) -> Iterator[sqlite3.Connection]:
    """Opens the database, creates it (0600) or migrates it if necessary, and closes it afterwards.

    Raises:
        sqlite3.Error, OSError: It cannot be used.
        ValueError: A newer version of rayjobs wrote it.
    """
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite would create it with the umask, readable for all.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA synchronous = NORMAL")
        _migrate(db)
        yield db
    finally:
        db.close()


def _migrate(db: sqlite3.Connection) -> None:
    if _version(db) == len(_MIGRATIONS):
        return
    db.execute("BEGIN IMMEDIATE")
    with db:
        version = _version(db)  # Another process may have migrated it meanwhile.
        if version > len(_MIGRATIONS):
            raise ValueError(f"a newer version of rayjobs wrote it (schema {version}, known up to {len(_MIGRATIONS)})")
        for script in _MIGRATIONS[version:]:
            for statement in script.split(";"):
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])
