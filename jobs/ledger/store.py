"""The user's own record of what was submitted: kept on this machine, it outlives the cluster.

`record_*` never raise and never hold up a job for long: a ledger that cannot be written (read-only, full, damaged,
locked) is warned about once and then left alone. Reading raises LedgerFault, since then a person asked for it.

No journal mode that needs shared memory is used (home directories are often on NFS), and every call opens and closes
its own connection: a killed process leaves at most an unfinished transaction, which SQLite rolls back.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import socket
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import LedgerFault
from ..spec import redact
from ..spec.job_info import LOST, TERMINAL
from ..spec.job_spec import JobSpec
from .git import Commit

TAIL_BYTES = 1024 * 1024
BUSY_SECONDS = 5.0
SUBMITTING = "SUBMITTING"
REFUSED = "REFUSED"
DELETED = "DELETED"

# One script a schema version, never changed once released; the file's user_version says how many have run.
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
)


@dataclass(frozen=True)
class Place:
    """Where a job went. `identity` tells clusters apart; `kind` is `stack`, `address` or `local`."""

    identity: str
    kind: str
    stack: str | None = None
    cluster: str | None = None
    namespace: str | None = None


@dataclass(frozen=True)
class Origin:
    """Where a job came from, beside its spec. `working_dir` is the local path or URI as it was given."""

    key: str | None = None
    attempt_of: str | None = None
    attempt: int = 0
    batch: str | None = None
    working_dir: str | None = None
    commit: Commit | None = None


@dataclass(frozen=True)
class Entry:
    """One submission as the ledger has it. Times are seconds since the epoch; `spec` is without secrets."""

    submission_id: str
    place: Place
    origin: Origin
    spec: dict[str, Any]
    withheld: list[str]
    digest: str
    package: str | None
    user: str
    host: str
    created: float
    status: str
    status_at: float
    driver_exit_code: int | None
    error_type: str | None
    changes: tuple[tuple[str, float], ...] = ()

    @property
    def ended(self) -> bool:
        return self.status in TERMINAL or self.status in (LOST, REFUSED, DELETED)

    def as_json(self) -> dict[str, Any]:
        record = asdict(self)
        place, origin = record.pop("place"), record.pop("origin")
        record["changes"] = [{"status": status, "at": at} for status, at in self.changes]
        return {**record, **place, **origin}


@dataclass(frozen=True)
class Tail:
    """The end of a log. `total` is the log's whole length in bytes as far as it was followed."""

    data: bytes
    total: int

    @property
    def whole(self) -> bool:
        return self.total <= len(self.data)


@dataclass
class TailBuffer:
    """Keeps the last `TAIL_BYTES` of what is fed to it; memory stays below twice that."""

    total: int = 0
    _kept: bytearray = field(default_factory=bytearray)

    def feed(self, chunk: bytes) -> None:
        self.total += len(chunk)
        self._kept += chunk[-TAIL_BYTES:]
        if len(self._kept) > 2 * TAIL_BYTES:
            del self._kept[:-TAIL_BYTES]

    def tail(self) -> Tail:
        return Tail(bytes(self._kept[-TAIL_BYTES:]), self.total)


def default_path() -> Path:
    if named := os.environ.get("RAYJOBS_LEDGER"):
        return Path(named).expanduser()
    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(base) / "rayjobs" / "ledger.sqlite"


def current_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


class Ledger:
    """`warn` is told, once, that the ledger fails."""

    def __init__(self, path: Path | None = None, warn: Callable[[str], None] = lambda _text: None) -> None:
        self.path = path or default_path()
        self.warn = warn
        self._failed = False

    def record_submission(self, submission_id: str, spec: JobSpec, place: Place, origin: Origin) -> None:
        """To be called before the first request, so that a client that dies then leaves a trace."""

        def write(db: sqlite3.Connection) -> None:
            there = _newest(db, submission_id, place.identity)
            if there is not None and there["digest"] == spec.digest and there["status"] not in (REFUSED, DELETED):
                return
            kept, withheld = redact.spec(_fields(spec))
            now = time.time()
            row = {
                "submission_id": submission_id,
                **asdict(place),
                "key": origin.key,
                "attempt_of": origin.attempt_of,
                "attempt": origin.attempt,
                "batch": origin.batch,
                "spec": json.dumps(kept),
                "withheld": json.dumps(withheld),
                "digest": spec.digest,
                "package": redact.text(str(spec.runtime_env.get("working_dir") or "")) or None,
                "working_dir": redact.text(origin.working_dir) if origin.working_dir else None,
                "git_commit": origin.commit.sha if origin.commit else None,
                "git_dirty": origin.commit.dirty if origin.commit else None,
                "user": current_user(),
                "host": socket.gethostname(),
                "created": now,
                "status": SUBMITTING,
                "status_at": now,
            }
            columns = ", ".join(row)
            done = db.execute(
                f"INSERT INTO submission ({columns}) VALUES ({', '.join('?' * len(row))})", tuple(row.values())
            )
            db.execute("INSERT INTO status_change VALUES (?, ?, ?)", (done.lastrowid, SUBMITTING, now))

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
        """A status as the server gave it, or LOST, REFUSED (by the server), DELETED. A job ends once: what comes after
        its end changes nothing, but for DELETED."""
        self.record_statuses(identity, {submission_id: (status, driver_exit_code, error_type)})

    def record_statuses(self, identity: str, found: dict[str, tuple[str, int | None, str | None]]) -> None:
        """Many at once, in one transaction: submission id to (status, driver's exit code, error type)."""

        def write(db: sqlite3.Connection) -> None:
            now = time.time()
            for submission_id, (status, exit_code, error_type) in found.items():
                there = _newest(db, submission_id, identity)
                if there is None or there["status"] in (status, DELETED):
                    continue
                if there["status"] in TERMINAL and status != DELETED:
                    continue
                db.execute(
                    "UPDATE submission SET status = ?, status_at = ?, driver_exit_code = coalesce(?, driver_exit_code),"
                    " error_type = coalesce(?, error_type) WHERE n = ?",
                    (status, now, exit_code, error_type, there["n"]),
                )
                db.execute("INSERT INTO status_change VALUES (?, ?, ?)", (there["n"], status, now))

        self._write(write)

    def record_tail(self, submission_id: str, identity: str, tail: Tail) -> None:
        """The end of the log. A shorter log than the one kept does not replace it (a follow that began again)."""

        def write(db: sqlite3.Connection) -> None:
            there = _newest(db, submission_id, identity)
            if there is None:
                return
            kept = db.execute("SELECT total FROM tail WHERE n = ?", (there["n"],)).fetchone()
            if kept is None or kept["total"] <= tail.total:
                data = zlib.compress(tail.data[-TAIL_BYTES:])
                db.execute("INSERT OR REPLACE INTO tail VALUES (?, ?, ?)", (there["n"], data, tail.total))

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
        """Newest first. Raises LedgerFault."""
        wanted = {"user": current_user() if mine else None, "status": status, "batch": batch, "identity": identity}
        chosen = {column: value for column, value in wanted.items() if value is not None}
        where = " AND ".join(f"{column} = ?" for column in chosen) or "1"
        query = f"SELECT * FROM submission WHERE {where} ORDER BY n DESC LIMIT ?"
        with self._reading() as db:
            if db is None:
                return []
            rows = db.execute(query, (*chosen.values(), -1 if limit is None else limit)).fetchall()
            return [_entry(row) for row in rows]

    def get(self, submission_id: str, identity: str | None = None) -> Entry | None:
        """The newest submission of this id, with its status changes. Raises LedgerFault."""
        with self._reading() as db:
            row = None if db is None else _newest(db, submission_id, identity)
            if db is None or row is None:
                return None
            changes = db.execute("SELECT status, at FROM status_change WHERE n = ? ORDER BY rowid", (row["n"],))
            return _entry(row, tuple((change["status"], change["at"]) for change in changes))

    def tail(self, submission_id: str, identity: str | None = None) -> Tail | None:
        """The kept end of the log, or None. Raises LedgerFault."""
        with self._reading() as db:
            row = None if db is None else _newest(db, submission_id, identity)
            if db is None or row is None:
                return None
            kept = db.execute("SELECT data, total FROM tail WHERE n = ?", (row["n"],)).fetchone()
            if kept is None:
                return None
            try:
                return Tail(zlib.decompress(kept["data"]), kept["total"])
            except zlib.error as error:
                raise LedgerFault(f"The ledger {self.path} is damaged: {error}.", _aside(self.path)) from None

    def attempts(self, base: str) -> list[Entry]:
        """The submission `base` and all that were made as its further attempts, in order. Raises LedgerFault."""
        with self._reading() as db:
            if db is None:
                return []
            rows = db.execute(
                "SELECT * FROM submission WHERE submission_id = ? OR attempt_of = ? ORDER BY attempt, n", (base, base)
            ).fetchall()
            return [_entry(row) for row in rows]

    def _write(self, work: Callable[[sqlite3.Connection], None]) -> None:
        if self._failed:
            return
        try:
            with _open(self.path) as db:
                db.execute("BEGIN IMMEDIATE")
                with db:
                    work(db)
        except Exception as error:
            # Whatever it is: a job must not fail for its record.
            self._failed = True
            self.warn(f"{_explain(self.path, error)} The job goes on; it is not recorded.")

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        if not self.path.exists():
            yield None
            return
        try:
            with _open(self.path) as db:
                yield db
        except (sqlite3.Error, OSError, ValueError) as error:
            raise LedgerFault(_explain(self.path, error), _aside(self.path)) from error


def _fields(spec: JobSpec) -> dict[str, Any]:
    return {key: value for key, value in asdict(spec).items() if value not in (None, {}, "")}


@contextlib.contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite would make it readable for all, by the umask.
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
        # Another process may have done it meanwhile.
        version = _version(db)
        if version > len(_MIGRATIONS):
            raise ValueError(f"a newer version of rayjobs wrote it (schema {version}, known up to {len(_MIGRATIONS)})")
        for script in _MIGRATIONS[version:]:
            for statement in script.split(";"):
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _newest(db: sqlite3.Connection, submission_id: str, identity: str | None) -> sqlite3.Row | None:
    found: sqlite3.Row | None = db.execute(
        "SELECT * FROM submission WHERE submission_id = ? AND (? IS NULL OR identity = ?) "
        "ORDER BY status = ?, n DESC LIMIT 1",
        (submission_id, identity, identity, REFUSED),
    ).fetchone()
    return found


def _entry(row: sqlite3.Row, changes: tuple[tuple[str, float], ...] = ()) -> Entry:
    commit = Commit(row["git_commit"], bool(row["git_dirty"])) if row["git_commit"] else None
    place = Place(row["identity"], row["kind"], row["stack"], row["cluster"], row["namespace"])
    origin = Origin(row["key"], row["attempt_of"], row["attempt"], row["batch"], row["working_dir"], commit)
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
    )


def _explain(path: Path, error: Exception) -> str:
    if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
        return f"The ledger {path} is damaged: {error}."
    return f"The ledger {path} cannot be used: {error}."


def _aside(path: Path) -> str:
    return f"Move it aside (mv {path} {path}.old), or name another one with --ledger or RAYJOBS_LEDGER."
