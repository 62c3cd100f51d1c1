"""Rows of the ledger's tables, and what they are made of. Used by every reader and writer."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .git import Commit
from .records import REFUSED, Entry, Origin, Place, search_text


def newest(db: sqlite3.Connection, submission_id: str, identity: str | None) -> sqlite3.Row | None:
    """Returns the newest submission of this id that was not refused; `identity` None: on any cluster."""
    row: sqlite3.Row | None = db.execute(
        "SELECT * FROM submission WHERE submission_id = ? AND (? IS NULL OR identity = ?) "
        "ORDER BY status = ?, n DESC LIMIT 1",
        (submission_id, identity, identity, REFUSED),
    ).fetchone()
    return row


def insert(db: sqlite3.Connection, row: Mapping[str, Any]) -> int:
    """Inserts a submission, with its first status and the text for searches. Returns its number `n`."""
    columns = ", ".join(row)
    done = db.execute(f"INSERT INTO submission ({columns}) VALUES ({', '.join('?' * len(row))})", tuple(row.values()))
    n = done.lastrowid
    assert n is not None
    add_change(db, n, row["status"], row["status_at"])
    db.execute("INSERT INTO search VALUES (?, ?)", (n, _search_text(row)))
    return n


def update(db: sqlite3.Connection, row: sqlite3.Row, changed: Mapping[str, Any]) -> None:
    """Changes columns of a submission. A new status is added to its changes."""
    if not changed:
        return
    settings = ", ".join(f"{column} = ?" for column in changed)
    db.execute(f"UPDATE submission SET {settings} WHERE n = ?", (*changed.values(), row["n"]))
    if "status" in changed:
        add_change(db, row["n"], changed["status"], changed["status_at"])
    if "message" in changed:
        text = _search_text({**dict(row), **changed})
        db.execute("UPDATE search SET text = ? WHERE n = ?", (text, row["n"]))


def add_change(db: sqlite3.Connection, n: int, status: str, at: float) -> None:
    db.execute("INSERT INTO status_change VALUES (?, ?, ?)", (n, status, at))


def changes_of(db: sqlite3.Connection, n: int) -> tuple[tuple[str, float], ...]:
    """Returns the statuses of a submission and their times, in the order in which they were recorded."""
    changes = db.execute("SELECT status, at FROM status_change WHERE n = ? ORDER BY rowid", (n,))
    return tuple((change["status"], change["at"]) for change in changes)


def entry_of(row: sqlite3.Row, changes: tuple[tuple[str, float], ...] = ()) -> Entry:
    commit = Commit(row["git_commit"], bool(row["git_dirty"])) if row["git_commit"] else None
    place = Place(row["identity"], row["kind"], row["stack"], row["cluster"], row["namespace"])
    modules = tuple(json.loads(row["modules"]))
    origin = Origin(
        row["key"], row["attempt_of"], row["attempt"], row["batch"], row["working_dir"], commit, modules,
        row["package_bytes"],
    )  # fmt: skip
    return Entry(
        row["submission_id"],
        place,
        origin,
        json.loads(row["spec"]),
        json.loads(row["withheld"]),
        row["digest"],
        row["package"],
        row["user"],
        row["host"],
        row["created"],
        row["status"],
        row["status_at"],
        row["driver_exit_code"],
        row["error_type"],
        changes,
        row["driver_node"],
        row["job_id"],
        row["message"],
        row["started_at"],
        row["ended_at"],
        json.loads(row["why"]) if row["why"] else None,
        row["source"],
    )


def is_damage(error: Exception) -> bool:
    """Whether SQLite says that the file itself is damaged, not only that it cannot be used now."""
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)


def explain(path: Path, error: Exception) -> str:
    if is_damage(error):
        return f"The ledger {path} is damaged: {error}."
    return f"The ledger {path} cannot be used: {error}."


def _search_text(row: Mapping[str, Any]) -> str:
    return search_text(row["submission_id"], json.loads(row["spec"]), row.get("message"))
