"""The `Range` header of HTTP for one range of bytes (RFC 9110, 14). Pure."""

from __future__ import annotations

import re

_ONE_RANGE = re.compile(r"bytes=[ \t]*(\d{0,18})-(\d{0,18})[ \t]*", re.ASCII)


class Unsatisfiable(ValueError):
    """The range has no byte of the log: 416."""


def parse_range(header: str | None, total: int) -> tuple[int, int] | None:
    """Returns [start, stop) of a `Range` header.

    Args:
        header: The header; None if the request has none.
        total: The size of the log, in bytes.

    Returns:
        None if the whole log is meant: there is no header, another unit, several ranges, or it is no range at all. The
        standard says that such a header is ignored.

    Raises:
        Unsatisfiable: The range begins after the end, or is empty.
    """
    match = _ONE_RANGE.fullmatch(header or "")
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        start, stop = max(0, total - int(match[2])), total
    else:
        start = int(match[1])
        if match[2] and int(match[2]) < start:
            return None
        stop = min(total, int(match[2]) + 1) if match[2] else total
    if start >= stop:
        raise Unsatisfiable
    return start, stop


def without_gap(start: int, stop: int, gap: tuple[int, int] | None) -> tuple[int, int]:
    """Returns the first part of [start, stop) that is kept. Raises Unsatisfiable if nothing of it is."""
    if gap is None or stop <= gap[0] or start >= gap[1]:
        return start, stop
    if start < gap[0]:
        return start, gap[0]
    if stop > gap[1]:
        return gap[1], stop
    raise Unsatisfiable
