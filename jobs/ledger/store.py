"""The ledger: a record of every submission, in a SQLite file on this machine.

`record_*` never raise and never delay a job for long: a ledger that cannot be written (read-only, full, damaged,
locked) gives one warning, and is not used again. Reading raises LedgerFault, because a person asked for it.

Every call opens and closes its own connection: a killed process leaves at most an unfinished transaction, which SQLite
rolls back.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import LedgerFault, UnknownJob, command
from ..spec import redact
from ..spec.job_info import TERMINAL
from ..spec.job_spec import JobSpec
from ..spec.submission_id import has_form_of_job_id
from ..user import current_user
from .log_file import read_end
from .records import DELETED, REFUSED, SUBMITTING, TAIL_BYTES, Entry, Origin, Place, Tail, name_of, redacted
from .rows import changes_of, entry_of, explain, insert, is_damage, newest, update
from .schema import open_database


def default_path() -> Path:
    """Returns RAYJOBS_LEDGER, or a file in this user's state directory."""
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(os.environ.get("RAYJOBS_LEDGER") or Path(base) / "rayjobs" / "ledger.sqlite")


class Ledger:
    """One ledger.

    Args:
        path: Its file; `~` is the home directory. See `default_path`.
        notify: Called with a warning, once, if the ledger cannot be written.
    """

    def __init__(self, path: str | Path | None = None, notify: Callable[[str], None] = lambda _text: None) -> None:
        self.path = Path(path or default_path()).expanduser()
        self.notify = notify
        self._failed = False

    def record_submission(self, submission_id: str, spec: JobSpec, place: Place, origin: Origin) -> None:
        """Records a job before its first request, so that a client that dies afterwards leaves a trace."""

        def write(db: sqlite3.Connection) -> None:
            known = newest(db, submission_id, place.identity)
            if known is not None and known["digest"] == spec.digest and known["status"] not in (REFUSED, DELETED):
                return
            fields, withheld = redact.spec(_fields(spec))
            now = time.time()
            row = {
                "submission_id": submission_id,
                **asdict(place),
                "key": origin.key,
                "attempt_of": origin.attempt_of,
                "attempt": origin.attempt,
                "batch": origin.batch,
                "name": name_of(fields),
                "spec": json.dumps(fields),
                "withheld": json.dumps(withheld),
                "digest": spec.digest,
                "package": redact.text(str(spec.runtime_env.get("working_dir") or "")) or None,
                "working_dir": redact.text(origin.working_dir) if origin.working_dir else None,
                "modules": json.dumps([redact.text(module) for module in origin.modules]),
                "git_commit": origin.commit.sha if origin.commit else None,
                "git_dirty": origin.commit.dirty if origin.commit else None,
                "package_bytes": origin.package_bytes,
                "user": current_user(),
                "host": socket.gethostname(),
                "created": now,
                "status": SUBMITTING,
                "status_at": now,
            }
            insert(db, row)

        self._write(write)

    def record_status(
        self,
        submission_id: str,
        identity: str,
        status: str,
        *,
        driver_exit_code: int | None = None,
        error_type: str | None = None,
    ) -> None:
        """Records a status of the server, or LOST, REFUSED, DELETED. A job ends once: only DELETED follows its end."""
        self.record_statuses(identity, {submission_id: (status, driver_exit_code, error_type)})

    def record_statuses(self, identity: str, statuses: dict[str, tuple[str, int | None, str | None]]) -> None:
        """Records many in one transaction: submission id to (status, exit code of the driver, error type)."""

        def write(db: sqlite3.Connection) -> None:
            now = time.time()
            for submission_id, (status, exit_code, error_type) in statuses.items():
                row = newest(db, submission_id, identity)
                if row is None or row["status"] in (status, DELETED):
                    continue
                if row["status"] in TERMINAL and status != DELETED:
                    continue
                more = {"driver_exit_code": exit_code, "error_type": error_type}
                known = {column: value for column, value in more.items() if value is not None}
                update(db, row, {"status": status, "status_at": now, **known})

        self._write(write)

    def record_tail(self, submission_id: str, identity: str, tail: Tail) -> None:
        """Records the end of a log without what looks like a secret.

        It does not replace that of a longer log: a follow may have begun again.
        """

        def write(db: sqlite3.Connection) -> None:
            row = newest(db, submission_id, identity)
            if row is None:
                return
            recorded = db.execute("SELECT total FROM tail WHERE n = ?", (row["n"],)).fetchone()
            if recorded is None or recorded["total"] <= kept.total:
                data = zlib.compress(kept.data)
                db.execute("INSERT OR REPLACE INTO tail VALUES (?, ?, ?)", (row["n"], data, kept.total))

        entry = None
        with contextlib.suppress(LedgerFault):  # Writing reports it.
            entry = self.get(submission_id, identity)
        try:
            # Before the database is locked: a large log takes a second.
            kept = redacted(tail, entry.spec["entrypoint"] if entry else "")
        except Exception as error:  # As in `_write`.
            self.notify(f"The log of job {submission_id} is not recorded: {type(error).__name__}.")
            return
        self._write(write)

    def history(
        self,
        *,
        mine: bool = False,
        status: str | None = None,
        batch: str | None = None,
        identity: str | None = None,
        limit: int | None = 100,
    ) -> list[Entry]:
        """Lists the submissions, newest first. Raises LedgerFault.

        Args:
            mine: Only those of this user.
            status: Only those with this status.
            batch: Only those of this batch.
            identity: Only those of this cluster.
            limit: The largest number of submissions; None for all.
        """
        filters = {"user": current_user() if mine else None, "status": status, "batch": batch, "identity": identity}
        chosen = {column: value for column, value in filters.items() if value is not None}
        where = " AND ".join(f"{column} = ?" for column in chosen) or "1"
        query = f"SELECT * FROM submission WHERE {where} ORDER BY n DESC LIMIT ?"
        with self.reading() as db:
            if db is None:
                return []
            rows = db.execute(query, (*chosen.values(), -1 if limit is None else limit)).fetchall()
            return [entry_of(row) for row in rows]

    def get(self, submission_id: str, identity: str | None = None) -> Entry | None:
        """Reads the newest submission of this id, with its status changes. Raises LedgerFault."""
        with self.reading() as db:
            row = None if db is None else newest(db, submission_id, identity)
            if db is None or row is None:
                return None
            return entry_of(row, changes_of(db, row["n"]))

    def tail(self, submission_id: str, identity: str | None = None) -> Tail | None:
        """Reads the end of the log, if it was followed. Raises LedgerFault.

        In a keeper's folder it is the end of the kept log, as the job wrote it.
        """
        with self.reading() as db:
            row = None if db is None else newest(db, submission_id, identity)
            if db is None or row is None:
                return None
            recorded = db.execute("SELECT data, total FROM tail WHERE n = ?", (row["n"],)).fetchone()
            if recorded is None:
                end = read_end(db, self.path.parent, row["n"], TAIL_BYTES)
                return None if end is None else Tail(*end)
            try:
                return Tail(zlib.decompress(recorded["data"]), recorded["total"])
            except zlib.error as error:
                raise self._fault(f"The ledger {self.path} is damaged: {error}.", damaged=True) from None

    def attempts(self, base: str) -> list[Entry]:
        """Reads the submission `base` and its further attempts, in order. Raises LedgerFault."""
        with self.reading() as db:
            if db is None:
                return []
            rows = db.execute(
                "SELECT * FROM submission WHERE submission_id = ? OR attempt_of = ? ORDER BY attempt, n", (base, base)
            ).fetchall()
            return [entry_of(row) for row in rows]

    def _write(self, work: Callable[[sqlite3.Connection], None]) -> None:
        if self._failed:
            return
        try:
            with open_database(self.path) as db:
                db.execute("BEGIN IMMEDIATE")
                with db:
                    work(db)
        except Exception as error:
            # Any error: a job must not fail because of its record.
            self._failed = True
            self.notify(f"{explain(self.path, error)} The job continues, but it is not recorded.")

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """Opens the database to read it; gives None where there is no file. Raises LedgerFault."""
        if not self.path.exists():
            yield None
            return
        try:
            with open_database(self.path) as db:
                yield db
        except (sqlite3.Error, OSError, ValueError) as error:
            raise self._fault(explain(self.path, error), damaged=is_damage(error)) from error

    def _fault(self, message: str, *, damaged: bool) -> LedgerFault:
        return LedgerFault(
            message,
            f"Move it away (mv {self.path} {self.path}.old), or use another one with --ledger or RAYJOBS_LEDGER.",
            damaged=damaged,
        )


def _fields(spec: JobSpec) -> dict[str, Any]:
    return {key: value for key, value in asdict(spec).items() if value not in (None, {}, "")}


def no_entry(ledger: Ledger, submission_id: str) -> UnknownJob:
    """Returns the error for a job that the ledger does not have."""
    remedy = f"{command('history')} lists its jobs."
    if has_form_of_job_id(submission_id):
        remedy += f" It knows no job ids of Ray: {command(f'status {submission_id}')} shows the submission id."
    return UnknownJob(f"The ledger {ledger.path} has no job {submission_id!r}.", remedy)
