"""Parts of a log for the page. A log of any size is read in parts of whole lines; parts that follow each other have
every line once. Pure but for `read`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .ansi import PLAIN, Line, render

if TYPE_CHECKING:
    from ...ledger.kept import LogExtent

PART_BYTES = 64 * 1024
# How far before a part the colour is searched that holds where it begins.
_STYLE_BYTES = 4096
# What one search reads at most. The reader continues where it ended.
SEARCH_BYTES = 64 * 1024 * 1024
_BLOCK = 1024 * 1024
Read = Callable[[int, int], bytes]


@dataclass(frozen=True)
class Part:
    """Lines of a log.

    Attributes:
        start: The offset of its first byte in the log.
        stop: The offset after its last byte.
        lines: The lines; `at` of each is its offset in the log.
        earlier: Where the part before it stops; None at the begin of the log.
        later: Where the part after it starts; None at the end of what is kept now.
        gap_before: Bytes that are not kept, directly before it; 0: none.
        gap_after: The same after it.
    """

    start: int
    stop: int
    lines: tuple[Line, ...]
    earlier: int | None
    later: int | None
    gap_before: int = 0
    gap_after: int = 0


def part_from(read: Read, extent: LogExtent, start: int, find: str = "", size: int = PART_BYTES) -> Part:
    """Returns the part that starts at a byte. If it has a whole line, it ends with a whole line.

    Args:
        read: Returns the bytes [start, stop) of the log.
        extent: The size of the log and its gap.
        start: Where it starts: 0, or where another part starts or stops. It is never moved back, so parts that follow
            each other never have a byte twice. In a gap, it is moved to the end of the gap. At any other byte, the part
            begins with the rest of a line, or of a character: see `line_start`.
        find: Mark this text.
        size: The largest size, in bytes.
    """
    start = max(0, min(start, extent.total))
    if extent.gap and extent.gap[0] <= start < extent.gap[1]:
        start = extent.gap[1]
    _, most = _region(extent, start)
    stop = min(most, start + size)
    data = read(start, stop)
    if stop < most:
        data = data[: data.rfind(b"\n") + 1] or _whole_characters(data)
    return _part(read, extent, start, data, find)


def part_before(read: Read, extent: LogExtent, stop: int, find: str = "", size: int = PART_BYTES) -> Part:
    """Returns the part that stops at a byte. If it has a whole line, it starts with one. Args as in `part_from`."""
    stop = max(0, min(stop, extent.total))
    if extent.gap and extent.gap[0] < stop <= extent.gap[1]:
        stop = extent.gap[0]
    least = extent.gap[1] if extent.gap and stop > extent.gap[1] else 0
    start = max(least, stop - size)
    data = read(start, stop)
    if start > least:
        first = data.find(b"\n", 0, max(0, len(data) - 1)) + 1
        kept = data[first:] if first else _from_a_character(data)
        start += len(data) - len(kept)
        data = kept
    return _part(read, extent, start, data, find)


def line_start(read: Read, extent: LogExtent, at: int) -> int:
    """Returns where the line of a byte starts. If that is more than half a part before it, where its character starts.

    So the part that starts there has the byte, and some more of its line. This is for a byte that is somewhere in the
    log. Where a part starts or stops is a start already, and a part may be less than a line.
    """
    at = max(0, min(at, extent.total))
    least, _ = _region(extent, at)
    at = max(at, least)  # It was in the gap.
    before = max(least, at - PART_BYTES // 2)
    data = read(before, at)
    found = data.rfind(b"\n")
    return before + (found + 1 if found >= 0 or before == least else len(_whole_characters(data)))


@dataclass(frozen=True)
class Found:
    """Where a text is, or how far was searched. `at` is its offset; None: not before `searched_to`."""

    at: int | None
    searched_to: int


def search(read: Read, extent: LogExtent, find: str, start: int, most: int = SEARCH_BYTES) -> Found:
    """Searches a text in the bytes of a log, forward. Upper and lower case of ASCII make no difference.

    Args:
        read: As in `part_from`.
        extent: The size of the log and its gap.
        find: The text; not empty.
        start: Where to begin.
        most: How many bytes to search at most.
    """
    wanted = find.encode(errors="replace").lower()
    last = min(extent.total, start + most)
    overlap = b""
    for block_start, block_stop in _blocks(extent, start, last):
        if extent.gap and block_start == extent.gap[1]:
            overlap = b""
        data = overlap + read(block_start, block_stop).lower()
        if (found := data.find(wanted)) >= 0:
            return Found(block_start - len(overlap) + found, block_stop)
        overlap = data[max(0, len(data) - len(wanted) + 1) :]
    return Found(None, last)


def _blocks(extent: LogExtent, start: int, last: int) -> Iterator[tuple[int, int]]:
    while start < last:
        if extent.gap and extent.gap[0] <= start < extent.gap[1]:
            start = extent.gap[1]
            continue
        stop = min(last, start + _BLOCK, _region(extent, start)[1])
        yield start, stop
        start = stop


def _region(extent: LogExtent, at: int) -> tuple[int, int]:
    """The kept bytes around a byte."""
    if extent.gap is None:
        return 0, extent.total
    return (0, extent.gap[0]) if at < extent.gap[0] else (extent.gap[1], extent.total)


def _whole_characters(data: bytes) -> bytes:
    """The data without the beginning of a character at its end."""
    for length in range(1, min(4, len(data))):
        byte = data[-length]
        if byte >= 0xC0:
            needed = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return data if needed <= length else data[:-length]
        if byte < 0x80:
            break
    return data


def _from_a_character(data: bytes) -> bytes:
    """The data without the end of a character at its beginning. At most 3 bytes are taken away, whatever they are."""
    return data[:3].lstrip(bytes(range(0x80, 0xC0))) + data[3:]


def _part(read: Read, extent: LogExtent, start: int, data: bytes, find: str) -> Part:
    stop = start + len(data)
    gap = extent.gap
    begin = gap[1] if gap and start >= gap[1] else 0
    before = max(begin, start - _STYLE_BYTES)
    style = render(read(before, start)).style if before < start else PLAIN
    lines = tuple(line._replace(at=start + line.at) for line in render(data, style, find=find).lines)
    size_of_gap = gap[1] - gap[0] if gap else 0
    return Part(
        start,
        stop,
        lines,
        earlier=None if start == 0 else (gap[0] if gap and start == gap[1] else start),
        later=None if stop >= extent.total else (gap[1] if gap and stop == gap[0] else stop),
        gap_before=size_of_gap if gap and start == gap[1] else 0,
        gap_after=size_of_gap if gap and stop == gap[0] else 0,
    )
