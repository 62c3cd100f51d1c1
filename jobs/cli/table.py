"""Tables on stdout: as wide as the terminal, with colours by state there; plain and complete elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from ..spec.shown import visible
from .terminal import in_colour, size_of_stdout

GAP = "  "
# The least width of the last column. Optional columns are left out before it gets narrower.
LAST_COLUMN = 16
COLOURS = {"PENDING": "yellow", "RUNNING": "cyan", "SUCCEEDED": "green", "FAILED": "red", "LOST": "red"}


def print_table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]], *, optional: Sequence[str] = ()) -> None:
    """Prints a table.

    Args:
        header: The names of the columns.
        rows: Their cells.
        optional: Columns that a narrow terminal does not get, the first one first.
    """
    size, colour = size_of_stdout(), in_colour(sys.stdout)
    for line in table_lines(header, rows, optional=optional, width=size.columns if size else None, colour=colour):
        click.echo(line, color=True)


def table_lines(
    header: tuple[str, ...],
    rows: Sequence[tuple[str, ...]],
    *,
    optional: Sequence[str] = (),
    width: int | None = None,
    colour: bool = False,
) -> list[str]:
    """Returns the lines of a table. See `print_table`.

    Args:
        header: The names of the columns.
        rows: Their cells.
        optional: Columns to leave out if `width` is too small.
        width: The longest line; None: any.
        colour: A status has its colour.
    """
    lines = [header, *(tuple(visible(text) for text in row) for row in rows)]
    columns = list(range(len(header)))
    widths = [max(_width(line[column]) for line in lines) for column in columns]
    if width is not None:
        for name in optional:
            if name in header and _total(widths, columns) > width:
                columns.remove(header.index(name))
    last = columns[-1]
    if width is not None:
        widths[last] = max(1, width - _total([*widths[:last], 0], columns))
    status = header.index("STATUS") if "STATUS" in header else None
    return [
        GAP.join(
            _cell(line[column], widths[column], colour and column == status and line is not header, column == last)
            for column in columns
        ).rstrip()
        for line in lines
    ]


def _total(widths: Sequence[int], columns: Sequence[int]) -> int:
    """The last column counts with its least width only."""
    return sum(min(widths[each], LAST_COLUMN) if each == columns[-1] else widths[each] for each in columns) + len(
        GAP
    ) * (len(columns) - 1)


def _cell(text: str, width: int, colour: bool, last: bool) -> str:
    if _width(text) > width:
        while text and _width(text) >= width:
            text = text[:-1]
        text += "…"
    padding = "" if last else " " * (width - _width(text))
    return (click.style(text, fg=COLOURS.get(text)) if colour and text in COLOURS else text) + padding


def _width(text: str) -> int:
    """Counts the columns of a terminal that a text takes."""
    if text.isascii():
        return len(text)
    import unicodedata

    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text
    )
