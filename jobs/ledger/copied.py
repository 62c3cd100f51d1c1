"""A copy of some jobs of a ledger, in a folder that a keeper can write."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ..errors import LedgerFault
from .kept import LEDGER_NAME
from .rows import explain, is_damage
from .schema import open_database

_PARTS = ("status_change", "tail", "search", "log", "log_piece", "event")


def copy_jobs(ledger: Path, directory: Path, *, identity: str | None, kind: str) -> None:
    """Copies the jobs of one cluster from a ledger into a new folder. Without the ledger's file, nothing is copied.

    Args:
        ledger: The ledger's file. It is only read.
        directory: An empty folder.
        identity: The cluster; None: it has no name that stays, and all jobs of its kind are copied.
        kind: See Place.

    Raises:
        LedgerFault: The ledger cannot be read, or the folder cannot be written.
    """
    if not ledger.exists():
        return
    try:
        with open_database(ledger) as source, open_database(directory / LEDGER_NAME) as copy:
            source.backup(copy)
            copy.execute("BEGIN")
            with copy:
                copy.execute(
                    "DELETE FROM submission WHERE NOT (kind = ? AND (? IS NULL OR identity = ?))",
                    (kind, identity, identity),
                )
                for table in _PARTS:
                    copy.execute(f"DELETE FROM {table} WHERE n NOT IN (SELECT n FROM submission)")
    except (sqlite3.Error, OSError, ValueError) as error:
        raise LedgerFault(explain(ledger, error), damaged=is_damage(error)) from error
