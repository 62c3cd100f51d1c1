"""The ledger's tables and their migrations.

No journal mode that needs shared memory is used, because home directories are often on NFS.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .records import name_of, search_text

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
    # What a keeper adds: see kept, keeping and log_file. The first index answers every filter of a page by itself.
    """
    ALTER TABLE submission ADD COLUMN package_bytes INTEGER;
    ALTER TABLE submission ADD COLUMN name TEXT;
    ALTER TABLE submission ADD COLUMN driver_node TEXT;
    ALTER TABLE submission ADD COLUMN job_id TEXT;
    ALTER TABLE submission ADD COLUMN message TEXT;
    ALTER TABLE submission ADD COLUMN started_at REAL;
    ALTER TABLE submission ADD COLUMN ended_at REAL;
    ALTER TABLE submission ADD COLUMN why TEXT;
    ALTER TABLE submission ADD COLUMN source TEXT NOT NULL DEFAULT 'submitted';
    UPDATE submission SET name = name_in(spec);
    CREATE INDEX submission_newest ON submission (created, status, user, submission_id, name);
    CREATE INDEX submission_by_status ON submission (status, status_at);
    CREATE INDEX submission_by_attempt ON submission (attempt_of) WHERE attempt_of IS NOT NULL;
    CREATE TABLE search (n INTEGER PRIMARY KEY REFERENCES submission, text TEXT NOT NULL);
    INSERT INTO search SELECT n, search_text_of(submission_id, spec) FROM submission;
    CREATE TABLE log (
        n INTEGER PRIMARY KEY REFERENCES submission, total INTEGER NOT NULL, gap_start INTEGER, gap_stop INTEGER,
        complete INTEGER NOT NULL, generation INTEGER NOT NULL, file_bytes INTEGER NOT NULL
    );
    CREATE TABLE log_piece (
        n INTEGER NOT NULL, start INTEGER NOT NULL, length INTEGER NOT NULL, at_byte INTEGER NOT NULL,
        size INTEGER NOT NULL, PRIMARY KEY (n, start)
    ) WITHOUT ROWID;
    CREATE TABLE event (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, kind TEXT NOT NULL, n INTEGER, data TEXT NOT NULL
    );
    CREATE UNIQUE INDEX event_of_log ON event (n) WHERE kind = 'log'
    """,
    # What identifies the head that a keeper saw last, and the last end of the jobs that it removed. Events are removed,
    # these are not.
    """
    CREATE TABLE head (identity TEXT PRIMARY KEY, head TEXT NOT NULL);
    CREATE TABLE removed (identity TEXT PRIMARY KEY, ended_at REAL NOT NULL)
    """,
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
        db.create_function("name_in", 1, lambda spec: name_of(_object(spec)), deterministic=True)
        db.create_function("search_text_of", 2, lambda id_, spec: search_text(id_, _object(spec)), deterministic=True)
        for script in _MIGRATIONS[version:]:
            for statement in script.split(";"):
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")


def _object(text: str) -> dict[str, Any]:
    """Returns the object of a JSON text; an empty one for anything else, so that one bad row stops no migration."""
    with contextlib.suppress(ValueError):
        value = json.loads(text)
        return value if isinstance(value, dict) else {}
    return {}


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])
