"""Writing the logs of many jobs at once, in little memory. See log_file for what is on the disk.

What is appended waits in memory for the next `flush`, at most BUFFER_BYTES for all logs together and LOG_BUFFER_BYTES
for one. A flush compresses it, writes it to the end of each file, and then records all of it in one transaction: a
piece is in the index only after its bytes are in the file. After a kill, or on a full disk, a file may be longer than
its index says; the rest is cut off before the next piece is written.

Short pieces at the end of a log are written again as one, as soon as there is enough for it. Their old bytes stay in
the file until a `_rewrite`. So an index has one row for at least 64 KiB of a log, beside the last few.

A flush does not wait for the disk: after a power failure the end of a file may be missing. Then its pieces are removed
from the index, and `next_byte` is where they began. Only the end of a log that is complete is synced.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from .log_file import PIECE_BYTES, LogRow, Piece, log_path, log_row, pieces_of, read_piece

BUFFER_BYTES = 16 * 1024 * 1024
LOG_BUFFER_BYTES = 4 * 1024 * 1024
FLUSH_SECONDS = 1.0
# Between two events about the growth of one log.
EVENT_SECONDS = 2.0
# A shorter piece is written again together with what follows it.
SMALL_BYTES = 64 * 1024
MOST_SMALL = 64
# So many bytes of a file may be without meaning, or half as many as have one, before it is written anew.
DEAD_BYTES = 256 * 1024
# 20 MB/s of logs take 0.2 of a core with level 1. Level 6 takes 0.5, and makes them a fifth smaller.
LEVEL = 1

Transaction = Callable[[], AbstractContextManager[sqlite3.Connection]]


@dataclass
class _Log:
    """A log that is being written.

    Attributes:
        row: What the index says.
        live: The bytes of the file that a piece has.
        run: The short pieces at the end.
        buffer: What was appended and not yet written.
        stale: A write failed, so that the index may say something else than `row`.
        leaving: Nothing more is appended.
        announced: When its last event was recorded, of the monotonic clock.
        unsaid: It has grown since its last event.
    """

    row: LogRow
    live: int = 0
    run: list[Piece] = field(default_factory=list)
    buffer: bytearray = field(default_factory=bytearray)
    stale: bool = True
    leaving: bool = False
    announced: float = 0.0
    unsaid: bool = False


@dataclass(frozen=True)
class _Written:
    """Pieces that are in the file and not yet in the index, and the short ones that they replace."""

    log: _Log
    pieces: list[Piece]
    replaced: list[Piece]
    taken: int


class LogWriter:
    """Writes logs. Its errors are OSError and sqlite3.Error: what was appended is kept, and written by a later flush.

    Args:
        directory: The keeper's folder.
        transaction: Opens a transaction that writes, and commits it.
        log_bytes: If a log is longer, only this many bytes of it are kept: the first half of them, and the last; None:
            all. It may be up to PIECE_BYTES more.
    """

    def __init__(self, directory: Path, transaction: Transaction, log_bytes: int | None = None) -> None:
        self.directory = directory
        self._transaction = transaction
        self._limit = log_bytes
        self._half = None if log_bytes is None else log_bytes // 2
        self._logs: dict[int, _Log] = {}
        self._buffered = 0
        self._flushed = time.monotonic()

    def next_byte(self, n: int) -> int:
        """Returns where to go on reading the log of submission `n`: the number of bytes that it has here."""
        log = self._log(n)
        return log.row.total + len(log.buffer)

    def append(self, n: int, data: bytes) -> None:
        """Takes the next bytes of a log. After an error they are not taken: append them again later."""
        log = self._log(n)
        is_due = time.monotonic() - self._flushed >= FLUSH_SECONDS
        if self._buffered and (is_due or self._buffered + len(data) > BUFFER_BYTES):
            self.flush()
        elif log.buffer and len(log.buffer) + len(data) > LOG_BUFFER_BYTES:
            self._write([log])
        log.buffer += data
        self._buffered += len(data)

    def flush(self) -> None:
        """Writes all that was appended."""
        self._flushed = now = time.monotonic()
        self._write([log for log in self._logs.values() if log.buffer or (log.unsaid and _is_due(log, now))])

    def finish(self, n: int, *, complete: bool) -> None:
        """Writes the rest of a log, as few pieces, and forgets it. `complete`: the log has nothing more."""
        log = self._log(n)
        self._write([log], finished=True, complete=complete)
        self._buffered -= len(log.buffer)
        self._logs.pop(n, None)

    def leave(self, n: int) -> None:
        """Forgets a log after the next flush."""
        if log := self._logs.get(n):
            log.leaving = True
            if not log.buffer:
                del self._logs[n]

    def forget(self, numbers: Iterable[int]) -> None:
        """Forgets logs that were removed."""
        for n in numbers:
            if log := self._logs.pop(n, None):
                self._buffered -= len(log.buffer)

    def _log(self, n: int) -> _Log:
        log = self._logs.get(n)
        if log is None:
            log = _Log(LogRow(n, 0, None, False, 0, 0))
            self._load(log)
            self._logs[n] = log
        elif log.stale:
            self._load(log)
        return log

    def _load(self, log: _Log) -> None:
        """Reads what the index says of a log. Cuts what it does not say off the file."""
        with self._transaction() as db:
            row = log_row(db, log.row.n) or LogRow(log.row.n, 0, None, False, 0, 0)
            with _opened(log_path(self.directory, row.n, row.generation)) as descriptor:
                length = os.fstat(descriptor).st_size
                if length < row.file_bytes:
                    row = _without_lost_pieces(db, row, length)
                if length > row.file_bytes:
                    os.ftruncate(descriptor, row.file_bytes)
            live = db.execute("SELECT coalesce(sum(size), 0) FROM log_piece WHERE n = ?", (row.n,)).fetchone()[0]
            ending = pieces_of(db, row.n, max(0, row.total - SMALL_BYTES), row.total)
        # A transaction that failed may have been committed all the same.
        known = row.total - log.row.total
        if 0 < known <= len(log.buffer):
            del log.buffer[:known]
            self._buffered -= known
        log.row, log.live, log.run, log.stale = row, live, _small_end(ending), False

    def _write(self, logs: list[_Log], *, finished: bool = False, complete: bool = False) -> None:
        if not logs:
            return
        for log in logs:
            if log.stale:
                self._load(log)
        now = time.monotonic()
        try:
            written = [self._write_pieces(log, finished) for log in logs]
            with self._transaction() as db:
                results = [self._index(db, each, finished, complete, now) for each in written]
        except BaseException as error:
            for log in logs:
                log.stale = True
            # Gives back the room that this attempt took on a full disk.
            if isinstance(error, OSError | sqlite3.Error):
                with suppress(OSError, sqlite3.Error):
                    for log in logs:
                        self._load(log)
            raise
        for each, (row, live) in zip(written, results, strict=True):
            log = each.log
            log.unsaid = (log.unsaid or bool(each.taken)) and not (finished or _is_due(log, now))
            if finished or _is_due(log, now):
                log.announced = now
            run = _small_end([*(log.run if not each.replaced else []), *each.pieces])
            first_byte = row.gap[1] if row.gap else 0
            log.run = [piece for piece in run if piece.start >= first_byte or (row.gap and piece.stop <= row.gap[0])]
            log.row, log.live = row, live
            del log.buffer[: each.taken]
            self._buffered -= each.taken
            if log.leaving:
                self._logs.pop(row.n, None)
        for log in logs:
            dead = log.row.file_bytes - log.live
            if dead > (log.live // 8 if finished else max(log.live // 2, DEAD_BYTES)):
                self._rewrite(log)

    def _write_pieces(self, log: _Log, finished: bool) -> _Written:
        """Writes the buffer to the end of the file, together with the short pieces before it if that is worth it."""
        taken = len(log.buffer)
        run = log.run
        run_bytes = sum(piece.length for piece in run)
        is_worth_it = len(run) >= MOST_SMALL or run_bytes + taken >= SMALL_BYTES or (finished and len(run) + taken > 1)
        replaced = run if run and is_worth_it else []
        if not taken and not replaced:
            return _Written(log, [], [], 0)
        with _opened(log_path(self.directory, log.row.n, log.row.generation)) as descriptor:
            try:
                before = b"".join(read_piece(descriptor, piece) for piece in replaced)
            except ValueError:  # Damaged: it stays as it is, so that the log goes on.
                before, replaced, log.run = b"", [], []
            data = before + log.buffer
            start = replaced[0].start if replaced else log.row.total
            at_byte, pieces = log.row.file_bytes, []
            for begin, end in _cuts(start, start + len(data), self._half):
                packed = zlib.compress(data[begin - start : end - start], LEVEL)
                _write_all(descriptor, packed, at_byte)
                pieces.append(Piece(begin, end - begin, at_byte, len(packed)))
                at_byte += len(packed)
            if finished:
                os.fsync(descriptor)
        return _Written(log, pieces, replaced, taken)

    def _index(
        self, db: sqlite3.Connection, written: _Written, finished: bool, complete: bool, now: float
    ) -> tuple[LogRow, int]:
        """Records what is in the file. Returns the new row of the log, and the bytes of its file with a meaning."""
        log, old = written.log, written.log.row
        n = old.n
        db.executemany(
            "DELETE FROM log_piece WHERE n = ? AND start = ?", [(n, piece.start) for piece in written.replaced]
        )
        _insert_pieces(db, n, written.pieces)
        live = log.live + _sizes(written.pieces) - _sizes(written.replaced)
        total = old.total + written.taken
        gap, freed = self._limit_log(db, n, total, old.gap)
        end = written.pieces[-1] if written.pieces else None
        file_bytes = end.at_byte + end.size if end else old.file_bytes
        row = LogRow(n, total, gap, complete, old.generation, file_bytes)
        _replace_row(db, row)
        if finished or ((log.unsaid or written.taken) and _is_due(log, now)):
            data = json.dumps({"total": total, "complete": complete})
            # Replaces the one before: the index event_of_log is unique.
            db.execute(
                "INSERT OR REPLACE INTO event (at, kind, n, data) VALUES (?, 'log', ?, ?)", (time.time(), n, data)
            )
        return row, live - freed

    def _limit_log(
        self, db: sqlite3.Connection, n: int, total: int, gap: tuple[int, int] | None
    ) -> tuple[tuple[int, int] | None, int]:
        """Removes pieces after the first half of what may be kept, the oldest first.

        Returns the gap, and how many bytes of the file have no meaning now.
        """
        kept = total - (gap[1] - gap[0] if gap else 0)
        if self._limit is None or kept <= self._limit:
            return gap, 0
        first = gap[1] if gap else self._half
        rows = db.execute(
            "SELECT start, length, at_byte, size FROM log_piece WHERE n = ? AND start >= ? ORDER BY start", (n, first)
        )
        removed = []
        for piece in (Piece(*row) for row in rows):
            if kept - piece.length < self._limit:
                break
            kept -= piece.length
            removed.append(piece)
        rows.close()
        if not removed:
            return gap, 0
        db.execute(
            "DELETE FROM log_piece WHERE n = ? AND start >= ? AND start <= ?", (n, removed[0].start, removed[-1].start)
        )
        return (gap[0] if gap else removed[0].start, removed[-1].stop), _sizes(removed)

    def _rewrite(self, log: _Log) -> None:
        """Writes the file anew, without bytes that have no meaning."""
        old = log.row
        new = log_path(self.directory, old.n, old.generation + 1)
        source = log_path(self.directory, old.n, old.generation)
        try:
            new.unlink(missing_ok=True)
            with _opened(source) as descriptor, _opened(new) as target, self._transaction() as db:
                pieces, at_byte = pieces_of(db, old.n, 0, old.total), 0
                moved = []
                for piece in pieces:
                    _write_all(target, os.pread(descriptor, piece.size, piece.at_byte), at_byte)
                    moved.append(Piece(piece.start, piece.length, at_byte, piece.size))
                    at_byte += piece.size
                os.fsync(target)
                db.executemany(
                    "UPDATE log_piece SET at_byte = ? WHERE n = ? AND start = ?",
                    [(piece.at_byte, old.n, piece.start) for piece in moved],
                )
                row = LogRow(old.n, old.total, old.gap, old.complete, old.generation + 1, at_byte)
                _replace_row(db, row)
        except BaseException:
            # Which of the two files counts, the database knows. On a full disk, the other one takes room.
            log.stale = True
            with suppress(OSError, sqlite3.Error):
                self._load(log)
                if log.row.generation == old.generation:
                    new.unlink(missing_ok=True)
            raise
        log.row, log.live, log.run = row, at_byte, _small_end(moved[-MOST_SMALL:])
        with suppress(OSError):
            source.unlink()


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Opens a file for reading and writing; makes it if necessary, for its owner only."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _without_lost_pieces(db: sqlite3.Connection, row: LogRow, length: int) -> LogRow:
    """The row of a log whose file has only `length` bytes, after a power failure; the index without the lost pieces."""
    lost = db.execute(
        "SELECT min(start) FROM log_piece WHERE n = ? AND at_byte + size > ?", (row.n, length)
    ).fetchone()[0]
    if lost is None:
        return LogRow(row.n, row.total, row.gap, row.complete, row.generation, length)
    db.execute("DELETE FROM log_piece WHERE n = ? AND start >= ?", (row.n, lost))
    end = db.execute("SELECT coalesce(max(at_byte + size), 0) FROM log_piece WHERE n = ?", (row.n,)).fetchone()[0]
    gap = row.gap if row.gap and row.gap[1] <= lost else None
    total = row.gap[0] if row.gap and gap is None else lost
    shortened = LogRow(row.n, min(total, lost), gap, False, row.generation, end)
    _replace_row(db, shortened)
    return shortened


def _cuts(start: int, stop: int, half: int | None) -> Iterator[tuple[int, int]]:
    """Yields the limits of the pieces of a range. Where `half` is, one piece ends and the next one begins."""
    while start < stop:
        end = min(start + PIECE_BYTES, stop)
        if half is not None and start < half < end:
            end = half
        yield start, end
        start = end


def _small_end(pieces: list[Piece]) -> list[Piece]:
    """The short pieces at the end of a log, without a break between them."""
    run: list[Piece] = []
    for piece in reversed(pieces):
        if piece.length >= SMALL_BYTES or (run and piece.stop != run[-1].start):
            break
        run.append(piece)
    return run[::-1]


def _is_due(log: _Log, now: float) -> bool:
    return now - log.announced >= EVENT_SECONDS


def _sizes(pieces: list[Piece]) -> int:
    return sum(piece.size for piece in pieces)


def _insert_pieces(db: sqlite3.Connection, n: int, pieces: list[Piece]) -> None:
    rows = [(n, piece.start, piece.length, piece.at_byte, piece.size) for piece in pieces]
    db.executemany("INSERT INTO log_piece VALUES (?, ?, ?, ?, ?)", rows)


def _replace_row(db: sqlite3.Connection, row: LogRow) -> None:
    gap_start, gap_stop = row.gap or (None, None)
    db.execute(
        "INSERT OR REPLACE INTO log VALUES (?, ?, ?, ?, ?, ?, ?)",
        (row.n, row.total, gap_start, gap_stop, row.complete, row.generation, row.file_bytes),
    )


def _write_all(descriptor: int, data: bytes, at_byte: int) -> None:
    """Writes all of it. A full disk takes a part first and refuses the rest."""
    done = 0
    while done < len(data):
        done += os.pwrite(descriptor, data[done:], at_byte + done)
