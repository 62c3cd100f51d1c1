"""Reading what a keeper keeps: jobs, logs, events. The pages and the API of the keeper use only this.

A keeper's folder has `ledger.sqlite`, which every reader of the ledger can read, and `logs/`, see log_file. Each call
opens its own connection, so it may come from any thread, and from another process than the keeper's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import LedgerFault, Refused
from .log_file import log_row, read_range
from .records import ENDED, Entry, folded
from .rows import entry_of, newest
from .store import Ledger

LEDGER_NAME = "ledger.sqlite"
MOST_SEARCHED = 1000
_CURSOR = re.compile(r"([0-9.e+-]{1,40})_([0-9]{1,18})")
_ESCAPED_IN_LIKE = str.maketrans({"\\": r"\\", "%": r"\%", "_": r"\_"})
_LAST_CHARACTER = "\U0010ffff"


@dataclass(frozen=True)
class LogExtent:
    """What is kept of a log.

    Attributes:
        total: The bytes of the log so far, with those that are not kept.
        gap: The bytes from `gap[0]` up to `gap[1]` are not kept, because the log was too long; None: all are.
        complete: The job has ended, and its log was read to the end.
    """

    total: int
    gap: tuple[int, int] | None
    complete: bool


@dataclass(frozen=True)
class JobPage:
    """Jobs, newest first. `cursor` is for the next page; None: this is the last one."""

    entries: list[Entry]
    cursor: str | None


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Attributes:
        seq: Its number. Later events have greater ones.
        at: Its time, in seconds since the epoch.
        kind: `status` (data: status, before; before is None for a new job), `log` (data: total, complete), `why`,
            `removed` (data: submission_ids), `keeper_started`, `head_replaced` (data: before, now).
        submission_id: The job's; None if the event is not about one job.
        data: See `kind`.
    """

    seq: int
    at: float
    kind: str
    submission_id: str | None
    data: dict[str, Any]


class KeptJobs:
    """The jobs in a keeper's folder. Every method raises LedgerFault if the folder cannot be read.

    Args:
        directory: The folder. A personal ledger's folder works too: it has jobs, and neither logs nor events.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory).expanduser()
        self._ledger = Ledger(self.directory / LEDGER_NAME)

    def jobs(
        self,
        *,
        status: Collection[str] = (),
        user: str | None = None,
        name: str | None = None,
        since: float | None = None,
        until: float | None = None,
        search: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> JobPage:
        """Returns a page of jobs, those that were submitted last first. Their `changes` are empty: see `job`.

        Args:
            status: Only jobs with one of these statuses; empty: with any.
            user: Only jobs of this user.
            name: Only jobs with this name in their metadata, or whose submission id begins with it.
            since: Only jobs that were submitted at this time or later, in seconds since the epoch.
            until: Only jobs that were submitted before this time.
            search: Only jobs with this text in the id, the entrypoint, a value of the metadata or the message. Upper
                and lower case make no difference.
            limit: The largest number of jobs.
            cursor: Of the page before; None for the first page.

        Raises:
            Refused: The cursor is not one of ours, or `search` has more than 1,000 characters.
            LedgerFault
        """
        conditions: list[str] = []
        values: list[Any] = []

        def only(condition: str, *given: Any) -> None:
            conditions.append(condition)
            values.extend(given)

        if status:
            only(f"status IN ({', '.join('?' * len(status))})", *status)
        if user is not None:
            only("user = ?", user)
        if name is not None:
            only("(name = ? OR submission_id >= ? AND submission_id < ?)", name, name, name + _LAST_CHARACTER)
        if since is not None:
            only("created >= ?", since)
        if until is not None:
            only("created < ?", until)
        if cursor is not None:
            only("(created, n) < (?, ?)", *_read_cursor(cursor))
        if search and len(search) > MOST_SEARCHED:
            raise Refused(f"The text to search has {len(search)} characters.", f"Use at most {MOST_SEARCHED}.")
        if search:
            pattern = f"%{folded(search).translate(_ESCAPED_IN_LIKE)}%"
            only(r"n IN (SELECT n FROM search WHERE text LIKE ? ESCAPE '\')", pattern)
        # The inner query reads only the index. Without INDEXED BY, SQLite would sort all jobs of a frequent status.
        query = (
            "SELECT * FROM submission WHERE n IN (SELECT n FROM submission INDEXED BY submission_newest"
            f" WHERE {' AND '.join(conditions) or '1'} ORDER BY created DESC, n DESC LIMIT ?)"
            " ORDER BY created DESC, n DESC"
        )
        with self._ledger.reading() as db:
            rows = [] if db is None else db.execute(query, (*values, limit + 1)).fetchall()
            page = rows[:limit]
            following = f"{page[-1]['created']!r}_{page[-1]['n']}" if page and len(rows) > limit else None
            return JobPage([entry_of(row) for row in page], following)

    def job(self, submission_id: str) -> Entry | None:
        """Returns the newest job with this id, with its changes."""
        return self._ledger.get(submission_id)

    def counts(self) -> dict[str, int]:
        """Returns the number of jobs with each status."""
        with self._ledger.reading() as db:
            if db is None:
                return {}
            return {row[0]: row[1] for row in db.execute("SELECT status, count(*) FROM submission GROUP BY status")}

    def unfinished_elsewhere(self, identity: str) -> list[str]:
        """Returns the names of the clusters, other than `identity`, with jobs that had not ended when last seen."""
        ends = ", ".join("?" * len(ENDED))
        query = f"SELECT DISTINCT identity FROM submission WHERE status NOT IN ({ends}) AND identity != ? ORDER BY 1"
        with self._ledger.reading() as db:
            return [] if db is None else [str(row[0]) for row in db.execute(query, (*sorted(ENDED), identity))]

    def bytes_kept(self) -> int:
        """Returns the bytes of all logs on the disk, compressed as they are."""
        with self._ledger.reading() as db:
            return 0 if db is None else int(db.execute("SELECT coalesce(sum(file_bytes), 0) FROM log").fetchone()[0])

    def log_extent(self, submission_id: str) -> LogExtent | None:
        """Returns what is kept of a job's log; None if there is no such job, or nothing was read of its log yet."""
        with self._ledger.reading() as db:
            job = None if db is None else newest(db, submission_id, None)
            row = None if db is None or job is None else log_row(db, job["n"])
            return None if row is None else LogExtent(row.total, row.gap, row.complete)

    def read_log(self, submission_id: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Yields bytes of a job's log as the job wrote them, not redacted, in pieces of at most 256 KiB.

        Bytes that are not kept are left out: those of the gap, and those after the end. Only the pieces that have bytes
        of the range are read, one at a time.

        Args:
            submission_id: The job; nothing is yielded if it is not known.
            start: The first byte.
            stop: The byte after the last one; None: up to the end, as it is now.

        Raises:
            LedgerFault: The log is damaged, or the folder cannot be read.
        """
        with self._ledger.reading() as db:
            job = None if db is None else newest(db, submission_id, None)
            row = None if db is None or job is None else log_row(db, job["n"])
            if db is None or row is None:
                return
            stop = row.total if stop is None else min(stop, row.total)
            with self._explaining(submission_id), closing(read_range(db, self.directory, row.n, start, stop)) as pieces:
                yield from pieces

    def attempts(self, submission_id: str) -> list[Entry]:
        """Returns all attempts at the work of a job, with that job, in order."""
        job = self.job(submission_id)
        return [] if job is None else self._ledger.attempts(job.origin.attempt_of or submission_id)

    def newest_event(self) -> int:
        """Returns the number of the newest event; 0 if nothing has happened."""
        with self._ledger.reading() as db:
            return 0 if db is None else int(db.execute("SELECT coalesce(max(seq), 0) FROM event").fetchone()[0])

    def events(self, after: int = 0, limit: int = 1000) -> list[Event]:
        """Returns what happened after the event with the number `after`, in order; not more than `limit`."""
        query = (
            "SELECT event.*, submission.submission_id FROM event LEFT JOIN submission USING (n)"
            " WHERE seq > ? ORDER BY seq LIMIT ?"
        )
        with self._ledger.reading() as db:
            rows = [] if db is None else db.execute(query, (after, limit)).fetchall()
            return [
                Event(row["seq"], row["at"], row["kind"], row["submission_id"], json.loads(row["data"])) for row in rows
            ]

    @contextmanager
    def _explaining(self, submission_id: str) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            raise LedgerFault(
                f"The log of job {submission_id} in {self.directory} cannot be read: {error}.",
                "Other logs are not affected.",
            ) from error


def _read_cursor(cursor: str) -> tuple[float, int]:
    match = _CURSOR.fullmatch(cursor)
    try:
        return float(match[1]), int(match[2])  # type: ignore[index]
    except (TypeError, ValueError):
        raise Refused(f"The cursor {cursor[:80]!r} is not valid.", "Begin with the first page.") from None
