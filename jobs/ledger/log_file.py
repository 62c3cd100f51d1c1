"""The file of a kept log, and its index in the database.

A file is a row of zlib streams, each by itself, so that any byte of the log is read without the ones before it. The
table `log_piece` says where the pieces are, the table `log` what there is of the log as a whole. Bytes of the file that
no piece has, at its end or between pieces, mean nothing: a writer was killed, or has written them again elsewhere.

When a file is written anew, it gets another name: the next `generation`. So a reader finds either the old file with the
old index, or the new one with the new index.
"""

from __future__ import annotations

import os
import re
import sqlite3
import zlib
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

# The longest piece, in bytes of the log.
PIECE_BYTES = 256 * 1024
_NAME = re.compile(r"[0-9]+(\.[0-9]+)?\.z")
# How many pieces of the index are read at once: 256 MiB of a log.
_BATCH = 1024


@dataclass(frozen=True)
class Piece:
    """Bytes `start` to `start + length` of a log are `size` bytes of the file, from `at_byte` on."""

    start: int
    length: int
    at_byte: int
    size: int

    @property
    def stop(self) -> int:
        return self.start + self.length


@dataclass(frozen=True)
class LogRow:
    """What there is of a log. Bytes `gap[0]` to `gap[1]` are not kept. The index ends at `file_bytes` of the file."""

    n: int
    total: int
    gap: tuple[int, int] | None
    complete: bool
    generation: int
    file_bytes: int


def logs_of(directory: Path) -> Path:
    return directory / "logs"


def log_path(directory: Path, n: int, generation: int) -> Path:
    """Returns the file of the log of submission `n`, in the keeper's folder `directory`."""
    return logs_of(directory) / (f"{n}.{generation}.z" if generation else f"{n}.z")


def is_log_file(name: str) -> bool:
    """Returns whether a name is one of `log_path`."""
    return _NAME.fullmatch(name) is not None


def log_row(db: sqlite3.Connection, n: int) -> LogRow | None:
    row = db.execute("SELECT * FROM log WHERE n = ?", (n,)).fetchone()
    if row is None:
        return None
    gap = None if row["gap_start"] is None else (row["gap_start"], row["gap_stop"])
    return LogRow(n, row["total"], gap, bool(row["complete"]), row["generation"], row["file_bytes"])


def pieces_of(db: sqlite3.Connection, n: int, start: int, stop: int, limit: int = -1) -> list[Piece]:
    """Returns the pieces with bytes from `start` up to `stop`, in order; not more than `limit`."""
    # A piece is not longer than PIECE_BYTES: the primary key finds the first one.
    rows = db.execute(
        "SELECT start, length, at_byte, size FROM log_piece"
        " WHERE n = ? AND start > ? AND start < ? AND start + length > ? ORDER BY start LIMIT ?",
        (n, start - PIECE_BYTES, stop, start, limit),
    )
    return [Piece(*row) for row in rows]


def read_piece(descriptor: int, piece: Piece) -> bytes:
    """Reads one piece. Raises OSError, and ValueError if its bytes are not those that were written."""
    packed = os.pread(descriptor, piece.size, piece.at_byte)
    try:
        data = zlib.decompress(packed)
    except zlib.error as error:
        raise ValueError(f"bytes {piece.start} to {piece.stop}: {error}") from None
    if len(data) != piece.length:
        raise ValueError(f"bytes {piece.start} to {piece.stop}: {len(data)} bytes instead of {piece.length}")
    return data


def read_end(db: sqlite3.Connection, directory: Path, n: int, limit: int) -> tuple[bytes, int] | None:
    """Reads the last bytes of a log, at most `limit` and none from before a gap; with the bytes of the whole log.

    None if there is no such log. Raises OSError, ValueError.
    """
    row = log_row(db, n)
    if row is None:
        return None
    start = max(0, row.total - limit, row.gap[1] if row.gap else 0)
    return b"".join(read_range(db, directory, n, start, row.total)), row.total


def read_range(db: sqlite3.Connection, directory: Path, n: int, start: int, stop: int) -> Generator[bytes, None, None]:
    """Yields what is kept of bytes `start` to `stop` of a log, one piece after the other. Raises OSError, ValueError.

    Between two batches of the index no transaction is open, so that a slow reader delays no writer.
    """
    while start < stop:
        db.execute("BEGIN")
        try:
            row = log_row(db, n)
            pieces = pieces_of(db, n, start, stop, _BATCH)
            if row is None or not pieces:
                return
            # Inside the transaction: no writer can have removed the file yet.
            descriptor = os.open(log_path(directory, n, row.generation), os.O_RDONLY | os.O_CLOEXEC)
        finally:
            db.execute("ROLLBACK")
        try:
            for piece in pieces:
                data = read_piece(descriptor, piece)
                yield data[max(0, start - piece.start) : stop - piece.start]
        finally:
            os.close(descriptor)
        start = pieces[-1].stop
