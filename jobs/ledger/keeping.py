"""Writing a keeper's folder: what its cluster says of jobs, their logs, what happened, and what is removed again.

Everything that the database gets is redacted as in a personal ledger. The bytes of logs are not: they are kept as the
job wrote them, for those who may read the folder.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import socket
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..errors import LedgerFault, Refused, UnknownJob
from ..spec import redact
from ..spec.job_info import LOST, TERMINAL, JobInfo
from ..spec.shown import redacted
from .kept import LEDGER_NAME
from .log_file import is_log_file, log_path, log_row, logs_of
from .log_writer import LogWriter
from .records import DELETED, ENDED, REFUSED, Entry, Place, name_of
from .rows import entry_of, explain, insert, is_damage, newest, update
from .schema import open_database

LOCK_NAME = "keeper.lock"
LEAST_LOG_BYTES = 1024 * 1024
# Older events are removed. A reader that was away for longer reads the jobs anew.
MOST_EVENTS = 20_000
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_ATTEMPT = re.compile(r"(.+)-r([1-9][0-9]{0,5})")
_RESOURCES = ("num_cpus", "num_gpus", "memory", "resources", "label_selector")
_ENDED = f"status IN ({', '.join(repr(status) for status in sorted(ENDED))})"
_DAY = 86400.0
# It also runs while the machine sleeps.
_STEADY_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_REMEDY = "Check that this user can write to the folder and to the files in it."


@dataclass(frozen=True)
class Limits:
    """How much is kept; None: no limit.

    Attributes:
        retain_days: An ended job is removed so many days after its end.
        retain_bytes: The bytes of all logs together on the disk, compressed. If there are more, the jobs that ended
            first are removed, but none that has not ended.
        log_bytes: The bytes of one log, as the job wrote it, at least 1 MiB. Of a longer one, the first and the last
            half of so many bytes are kept.

    Raises:
        Refused: A limit is too low.
    """

    retain_days: float | None = None
    retain_bytes: int | None = None
    log_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.log_bytes is not None and self.log_bytes < LEAST_LOG_BYTES:
            raise Refused(f"{self.log_bytes} bytes are too few for a log.", f"Use at least {LEAST_LOG_BYTES}.")
        for name in ("retain_days", "retain_bytes"):
            if (value := getattr(self, name)) is not None and value < 0:
                raise Refused(f"{name} is {value}, which is less than 0.", "Use a number from 0 on.")


class Keeping:
    """Writes a keeper's folder, from one thread. Only one process can have it open; `close` lets go of it.

    Every method raises LedgerFault if the folder cannot be written, such as on a full disk. Then nothing of the call
    was recorded, nothing that was recorded before is damaged, and the same call works again when there is room. If
    `LedgerFault.damaged` is true, a new Keeping has to be opened, which sets the damaged database aside.

    Args:
        directory: The folder; it is made if necessary.
        place: The cluster.
        limits: How much is kept, see `retain`.
        notify: Called with messages for a person: a damaged database was set aside.

    Raises:
        LedgerFault: Another keeper uses the folder, it cannot be written, or a newer version wrote it.
    """

    def __init__(
        self,
        directory: str | Path,
        place: Place,
        limits: Limits = Limits(),
        notify: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self.directory = Path(directory).expanduser()
        self.place = place
        self.limits = limits
        self._resources = contextlib.ExitStack()
        self._opened = time.time() - _steady_seconds()
        self._marks: dict[str, int] = {}
        self._numbers: dict[str, int] = {}
        with self._explaining(), contextlib.ExitStack() as opened:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            opened.enter_context(_lock(self.directory))
            if problem := _damage(self.directory):
                notify(_set_aside(self.directory, problem))
            logs_of(self.directory).mkdir(mode=0o700, exist_ok=True)
            self._db = opened.enter_context(open_database(self.directory / LEDGER_NAME))
            self._logs = LogWriter(self.directory, self._transaction, limits.log_bytes)
            _remove_leftovers(self._db, self.directory)
            self.record_event("keeper_started", {})
            self._resources = opened.pop_all()

    def __enter__(self) -> Keeping:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Writes what waits in memory, and lets go of the folder."""
        try:
            self.flush()
        finally:
            self._resources.close()

    def record_seen(self, jobs: Iterable[JobInfo]) -> None:
        """Records the jobs that the server lists, in one transaction. Only what changed since the last call is looked
        at, and only what the database does not have is written.

        A job is a new submission if the ledger has none of its id, or only one with another start.
        What the server says replaces what was recorded, also of a job that was LOST.
        """
        listed = {job.submission_id: job for job in jobs}
        marks = {submission_id: _mark(job) for submission_id, job in listed.items()}
        changed = [job for job in listed.values() if marks[job.submission_id] != self._marks.get(job.submission_id)]
        if changed:
            now = time.time()
            with self._explaining(), self._transaction() as db:
                replaced = [self._record_job(db, job, now) for job in sorted(changed, key=_start)]
            self._let_go(replaced)
        self._marks = marks

    def record_lost(self, submission_ids: Iterable[str], reason: str) -> None:
        """Records that the server no longer knows jobs that had not ended. `reason` is a sentence for people."""
        lost = list(submission_ids)
        with self._explaining(), self._transaction() as db:
            for submission_id in lost:
                row = newest(db, submission_id, self.place.identity)
                if row is not None and row["status"] not in ENDED:
                    self._change(db, row, {"status": LOST, "status_at": time.time(), "message": _clean(reason)})
        for submission_id in lost:
            self._marks.pop(submission_id, None)

    def record_why(self, submission_id: str, findings: Sequence[Mapping[str, Any]], at: float | None = None) -> None:
        """Records what `why` says of a job now. It replaces what it said before.

        Args:
            submission_id: The job.
            findings: As JSON, see `jobs.diagnose.finding.Finding`.
            at: The time, in seconds since the epoch; None: now.
        """
        why = {"at": time.time() if at is None else at, "findings": redact.leaves(list(findings))}
        with self._explaining(), self._transaction() as db:
            n = self._row(db, submission_id)["n"]
            db.execute("UPDATE submission SET why = ? WHERE n = ?", (json.dumps(why), n))
            _add_event(db, "why", n, {})

    def record_event(self, kind: str, data: Mapping[str, Any], submission_id: str | None = None) -> None:
        """Records what happened, such as `head_replaced`; see `jobs.ledger.kept.Event`."""
        with self._explaining(), self._transaction() as db:
            n = None if submission_id is None else self._row(db, submission_id)["n"]
            _add_event(db, kind, n, redact.leaves(dict(data)))

    def record_head(self, head: str, *, replaces: str | None) -> None:
        """Records what identifies the head that answers.

        Args:
            head: A text, which `head` returns.
            replaces: The head that it took the place of, for an event; None: it is the one before, or the first.
        """
        with self._explaining(), self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO head VALUES (?, ?)", (self.place.identity, head))
            if replaces is not None:
                _add_event(db, "head_replaced", None, {"before": replaces, "now": head})

    def head(self) -> str | None:
        """Returns what identifies the head that was recorded last; None: none was."""
        query = "SELECT head FROM head WHERE identity = ?"
        with self._explaining():
            row = self._db.execute(query, (self.place.identity,)).fetchone()
            return None if row is None else str(row["head"])

    def unfinished(self) -> list[Entry]:
        """Returns the jobs of this cluster that had not ended, or whose log was not complete, oldest first."""
        query = (
            "SELECT submission.* FROM submission LEFT JOIN log USING (n) WHERE identity = ?"
            f" AND (NOT {_ENDED} OR log.complete = 0) AND NOT EXISTS (SELECT 1 FROM submission AS later WHERE"
            " later.submission_id = submission.submission_id AND later.identity = submission.identity"
            " AND later.n > submission.n) ORDER BY n"
        )
        with self._explaining():
            return [entry_of(row) for row in self._db.execute(query, (self.place.identity,))]

    def next_byte(self, submission_id: str) -> int:
        """Returns where to go on reading the job's log. Raises UnknownJob: it was not recorded before."""
        with self._explaining():
            return self._logs.next_byte(self._number(submission_id))

    def is_log_complete(self, submission_id: str) -> bool:
        """Returns whether the job's log was read to its end, or the job is not kept."""
        with self._explaining():
            row = newest(self._db, submission_id, self.place.identity)
            log = None if row is None else log_row(self._db, row["n"])
            return row is None or (log is not None and log.complete)

    def append_log(self, submission_id: str, data: bytes) -> None:
        """Takes the next bytes of a job's log, from `next_byte` on. They are written within a second, if `flush` or
        `append_log` of any job is called.

        Raises:
            UnknownJob: The job was not recorded before.
            LedgerFault: The bytes were not taken. Append them again later.
        """
        with self._explaining():
            self._logs.append(self._number(submission_id), data)

    def flush(self) -> None:
        """Writes what was appended to any log, in one transaction. Call it every second."""
        with self._explaining():
            self._logs.flush()

    def finish_log(self, submission_id: str, *, complete: bool = True) -> None:
        """Writes the rest of a log, and rewrites its small pieces into larger ones.

        Args:
            submission_id: The job.
            complete: The log was read to its end after the job had ended. False: nobody can read more of it.
        """
        with self._explaining():
            self._logs.finish(self._number(submission_id), complete=complete)
        self._numbers.pop(submission_id, None)

    def begin_log_again(self, submission_id: str) -> None:
        """Records that the server's log of a job is now another, shorter one: `next_byte` is 0 again.

        The job becomes a new submission with a log of its own. The one before keeps its log, and is DELETED.
        """
        with self._explaining():
            self._logs.finish(self._number(submission_id), complete=False)
            with self._transaction() as db:
                old = self._row(db, submission_id)
                row = {column: old[column] for column in old.keys() if column != "n"}  # noqa: SIM118 - a sqlite3.Row
                message = "The log began again: what follows is in the next record of this job."
                self._change(db, old, {"status": DELETED, "status_at": time.time(), "message": message})
                _add_event(db, "status", insert(db, row), {"status": row["status"], "before": None})
        self._numbers.pop(submission_id, None)

    def retain(self, now: float | None = None) -> list[str]:
        """Removes jobs that are older than the limits, with their logs, and old events.

        Args:
            now: Seconds since the epoch; None: the time of the clock, but not more than has passed since the folder was
                opened. A clock that jumps ahead must not remove everything.

        Returns:
            The ids of the removed jobs, those first that ended first.
        """
        now = self._now() if now is None else now
        with self._explaining():
            with self._transaction() as db:
                gone = self._too_old(db, now)
                gone += self._too_many(db, {row["n"] for row in gone})
                numbers = [(row["n"],) for row in gone]
                files = [log_path(self.directory, row["n"], row["generation"] or 0) for row in gone]
                for table in ("submission", "status_change", "tail", "search", "log", "log_piece"):
                    db.executemany(f"DELETE FROM {table} WHERE n = ?", numbers)
                if gone:
                    self._record_removed(db, gone)
                    db.execute("DELETE FROM event WHERE n IS NOT NULL AND n NOT IN (SELECT n FROM submission)")
                    _add_event(db, "removed", None, {"submission_ids": [row["submission_id"] for row in gone]})
                db.execute("DELETE FROM event WHERE seq <= (SELECT max(seq) FROM event) - ?", (MOST_EVENTS,))
            self._logs.forget(n for (n,) in numbers)
            self._numbers = {id_: n for id_, n in self._numbers.items() if (n,) not in numbers}
            for file in files:
                file.unlink(missing_ok=True)
        return [row["submission_id"] for row in gone]

    def _now(self) -> float:
        """The time for `retain`: of the clock, but not more than has passed since the folder was opened."""
        return min(time.time(), self._opened + _steady_seconds())

    def _is_too_old(self, db: sqlite3.Connection, said: Mapping[str, Any]) -> bool:
        """Whether `retain` would remove the job at once, or has. Ray lists an ended job as long as its head lives."""
        end, days = _end_of(said), self.limits.retain_days
        if end is None:
            return False
        if days is not None and end < self._now() - days * _DAY:
            return True
        row = db.execute("SELECT ended_at FROM removed WHERE identity = ?", (self.place.identity,)).fetchone()
        return self.limits.retain_bytes is not None and row is not None and end <= row["ended_at"]

    def _record_removed(self, db: sqlite3.Connection, gone: Iterable[sqlite3.Row]) -> None:
        """Records the last end of the jobs that go, so that none of them comes back while Ray still lists it."""
        ends = [row["status_at"] for row in gone if row["identity"] == self.place.identity]
        if ends:
            db.execute(
                "INSERT INTO removed VALUES (?, ?)"
                " ON CONFLICT (identity) DO UPDATE SET ended_at = max(ended_at, excluded.ended_at)",
                (self.place.identity, max(ends)),
            )

    def _too_old(self, db: sqlite3.Connection, now: float) -> list[sqlite3.Row]:
        if self.limits.retain_days is None:
            return []
        query = (
            "SELECT n, submission_id, identity, status_at, generation FROM submission LEFT JOIN log USING (n)"
            f" WHERE {_ENDED} AND status_at < ? ORDER BY status_at, n"
        )
        return db.execute(query, (now - self.limits.retain_days * _DAY,)).fetchall()

    def _too_many(self, db: sqlite3.Connection, gone: set[int]) -> list[sqlite3.Row]:
        """The jobs whose logs have to go for `retain_bytes`, beside those that go anyway."""
        if self.limits.retain_bytes is None:
            return []
        excess = db.execute("SELECT coalesce(sum(file_bytes), 0) FROM log").fetchone()[0] - self.limits.retain_bytes
        if excess <= 0:
            return []
        query = (
            "SELECT n, submission_id, identity, status_at, generation, file_bytes FROM submission JOIN log USING (n)"
            f" WHERE {_ENDED} ORDER BY status_at, n"
        )
        more = []
        for row in db.execute(query).fetchall():
            if row["n"] in gone:
                excess -= row["file_bytes"]
            elif excess > 0 and row["file_bytes"]:
                excess -= row["file_bytes"]
                more.append(row)
        return more

    def _record_job(self, db: sqlite3.Connection, job: JobInfo, now: float) -> str | None:
        """Records one job. Returns its id if it is a new submission."""
        row = newest(db, job.submission_id, self.place.identity)
        said = _columns(job)
        if row is None or not _is_same(row, job):
            if self._is_too_old(db, said):
                return None
            _add_event(db, "status", insert(db, self._new_row(db, job, said, now)), _status(said["status"], None))
            return job.submission_id
        changed = {column: value for column, value in said.items() if value not in (None, row[column])}
        if "status" in changed:
            changed["status_at"] = _end_of(said) or now
        self._change(db, row, changed)
        return None

    def _new_row(self, db: sqlite3.Connection, job: JobInfo, said: dict[str, Any], now: float) -> dict[str, Any]:
        fields, withheld = redact.spec(_fields(job))
        attempt_of, attempt = None, 0
        if (match := _ATTEMPT.fullmatch(job.submission_id)) and newest(db, match[1], self.place.identity):
            attempt_of, attempt = match[1], int(match[2])
        working_dir = job.runtime_env.get("working_dir")
        sha, is_dirty = job.commit or (None, None)
        return {
            "submission_id": job.submission_id,
            "identity": self.place.identity,
            "kind": self.place.kind,
            "stack": self.place.stack,
            "cluster": self.place.cluster,
            "namespace": self.place.namespace,
            "attempt_of": attempt_of,
            "attempt": attempt,
            "name": name_of(fields),
            "spec": json.dumps(fields),
            "withheld": json.dumps(withheld),
            "digest": job.digest or "",
            "package": _clean(working_dir) if isinstance(working_dir, str) else None,
            "package_bytes": job.package_bytes,
            "git_commit": sha,
            "git_dirty": is_dirty,
            "user": _clean(job.user),
            "host": "",
            "created": now if said["started_at"] is None else said["started_at"],
            # A job is PENDING from the moment on in which the server accepted it.
            "status_at": _end_of(said) or (said["status"] == "PENDING" and said["started_at"]) or now,
            "source": "seen",
            **said,
        }

    def _change(self, db: sqlite3.Connection, row: sqlite3.Row, changed: Mapping[str, Any]) -> None:
        # Why it waited is not why it failed.
        update(db, row, {**changed, "why": None} if "status" in changed else changed)
        if "status" in changed:
            _add_event(db, "status", row["n"], _status(changed["status"], row["status"]))

    def _let_go(self, replaced: Iterable[str | None]) -> None:
        """Forgets the logs of earlier submissions with these ids."""
        for submission_id in replaced:
            if submission_id is not None and (n := self._numbers.pop(submission_id, None)) is not None:
                self._logs.leave(n)

    def _number(self, submission_id: str) -> int:
        if submission_id not in self._numbers:
            self._numbers[submission_id] = self._row(self._db, submission_id)["n"]
        return self._numbers[submission_id]

    def _row(self, db: sqlite3.Connection, submission_id: str) -> sqlite3.Row:
        row = newest(db, submission_id, self.place.identity)
        if row is None:
            raise UnknownJob(f"The keeper's folder {self.directory} has no job {submission_id!r}.")
        return row

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._db.execute("BEGIN IMMEDIATE")
        with self._db:
            yield self._db

    @contextlib.contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, ValueError) as error:
            raise _fault(self.directory, error) from error


def _steady_seconds() -> float:
    """The seconds of a clock that nobody sets."""
    return time.clock_gettime(_STEADY_CLOCK)


def _fault(directory: Path, error: Exception) -> LedgerFault:
    is_full = isinstance(error, OSError) and error.errno in _FULL
    if is_full or getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return LedgerFault(
            f"There is no room for the keeper's folder {directory}: {error}. What was kept before is not affected.",
            "Free space, use a larger volume, or lower the limits. It goes on by itself when there is room.",
        )
    if isinstance(error, sqlite3.Error):
        remedy = "Start the keeper again: it sets the database aside." if is_damage(error) else _REMEDY
        return LedgerFault(explain(directory / LEDGER_NAME, error), remedy, damaged=is_damage(error))
    return LedgerFault(f"The keeper's folder {directory} cannot be used: {error}.", _REMEDY)


@contextlib.contextmanager
def _lock(directory: Path) -> Iterator[None]:
    """Holds the folder for this process. The kernel lets go of it when the process ends.

    Raises LedgerFault, OSError.
    """
    descriptor = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LedgerFault(
                f"Another keeper uses {directory}: {file.read(200).strip() or 'it does not say which'}.",
                "Stop that one, or use another folder.",
            ) from None
        file.truncate()
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield


def _damage(directory: Path) -> str | None:
    """Returns what is wrong with the database; None: nothing, or it does not exist yet and there are no logs.

    Raises OSError, ValueError, and sqlite3.Error for everything that is not damage.
    """
    path = directory / LEDGER_NAME
    if not path.exists() or path.stat().st_size == 0:
        has_logs = any(True for _ in _log_files(directory))
        return "it is empty, and there are logs" if has_logs else None
    try:
        with open_database(path) as db:
            result = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return str(error)
    return None if result == "ok" else str(result)


def _set_aside(directory: Path, problem: str) -> str:
    """Renames the database and the folder of the logs, whose numbers a new database would give again. Returns what was
    done, for a person. Raises OSError."""
    suffix = f".damaged-{datetime.now(timezone.utc):%Y%m%dT%H%M%S.%fZ}"
    ledger, logs = directory / LEDGER_NAME, logs_of(directory)
    for path, to in (
        (logs, f"{logs.name}{suffix}"),
        # SQLite finds an unfinished transaction beside the database by its name.
        (directory / f"{LEDGER_NAME}-journal", f"{LEDGER_NAME}{suffix}-journal"),
        (ledger, f"{LEDGER_NAME}{suffix}"),
    ):
        if path.exists():
            path.rename(directory / to)
    return (
        f"The database {ledger} is damaged: {problem}. It is now {ledger.name}{suffix}, its logs are in "
        f"{logs.name}{suffix}, and a new one begins."
    )


def _remove_leftovers(db: sqlite3.Connection, directory: Path) -> None:
    """Removes files of logs that the index does not have: of removed jobs, and of a rewrite that was killed."""
    current = {log_path(directory, *row).name for row in db.execute("SELECT n, generation FROM log")}
    for path in _log_files(directory):
        if path.name not in current:
            path.unlink(missing_ok=True)


def _log_files(directory: Path) -> Iterator[Path]:
    """Yields the files of logs. A user's own folder of the same name may have others."""
    if logs_of(directory).is_dir():
        for entry in os.scandir(logs_of(directory)):
            if is_log_file(entry.name) and entry.is_file(follow_symlinks=False):
                yield Path(entry.path)


def _mark(job: JobInfo) -> int:
    """A number that changes with what is recorded of a job."""
    start, metadata = job.start_time, tuple(sorted(job.metadata.items()))
    texts = (job.status, job.message, job.error_type, job.entrypoint, job.driver_node_id, job.job_id)
    return hash((texts, start, job.end_time, job.driver_exit_code, metadata))


def _start(job: JobInfo) -> int:
    return job.start_time or 0


def _is_same(row: sqlite3.Row, job: JobInfo) -> bool:
    """Whether the server's job is the submission that was recorded, not a later one with the same id."""
    if row["started_at"] is None or job.start_time is None:
        return row["status"] not in (DELETED, REFUSED) and (row["status"] not in TERMINAL or job.ended)
    return bool(row["started_at"] == job.start_time / 1000)


def _columns(job: JobInfo) -> dict[str, Any]:
    """What the server says of a job and what may change. Without secrets."""
    return {
        "status": _clean(job.status),
        "driver_exit_code": job.driver_exit_code,
        "error_type": _clean(job.error_type),
        "message": _clean(job.message),
        "driver_node": _clean(job.driver_node_id),
        "job_id": _clean(job.job_id),
        "started_at": None if job.start_time is None else job.start_time / 1000,
        "ended_at": None if job.end_time is None else job.end_time / 1000,
    }


def _clean(text: str | None) -> Any:
    """The text without secrets, as SQLite can store it: without halves of surrogate pairs."""
    return text and redacted(text).encode(errors="replace").decode()


def _end_of(said: Mapping[str, Any]) -> float | None:
    """When the job ended, by the server's clock; None: it has not, or the server does not say it."""
    return said["ended_at"] if said["status"] in TERMINAL else None


def _fields(job: JobInfo) -> dict[str, Any]:
    """The fields of the job's spec, named as in JobSpec."""
    fields = {"runtime_env": dict(job.runtime_env), "metadata": job.user_metadata}
    reserved = job.entrypoint_resources
    resources = {f"entrypoint_{name}": reserved[name] for name in _RESOURCES if _is_resource(name, reserved.get(name))}
    return {"entrypoint": job.entrypoint, **{key: value for key, value in fields.items() if value}, **resources}


def _is_resource(name: str, value: Any) -> bool:
    """Whether it is what JobSpec writes. Anybody can write metadata."""
    if name in ("resources", "label_selector"):
        kinds = str if name == "label_selector" else (int, float)
        return isinstance(value, dict) and all(isinstance(inner, kinds) for inner in value.values())
    return isinstance(value, int | float)


def _status(status: str, before: str | None) -> dict[str, Any]:
    return {"status": status, "before": before}


def _add_event(db: sqlite3.Connection, kind: str, n: int | None, data: Mapping[str, Any]) -> None:
    row = (time.time(), kind, n, json.dumps(data))
    db.execute("INSERT INTO event (at, kind, n, data) VALUES (?, ?, ?, ?)", row)
