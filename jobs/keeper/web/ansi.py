"""The bytes of a log as escaped HTML, as a terminal would show them. Pure.

Colours and styles become classes. Carriage return, backspace and the movements that progress bars use move the cursor.
All other escape sequences are dropped: titles, links, clipboard, images. What is no whole sequence, and other control
characters, are shown as symbols, so that nothing of a log is hidden: `␛`, `␀`, `\\u202e`.

A log may be hostile. So a few bytes never cost many cells or rows: blanks are written within a budget, and no sequence
touches a row that is empty already.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from heapq import heappop, heappush
from html import escape
from typing import NamedTuple

# A movement to the right goes at most to this column; text that is written may be longer. Clearing to the left reaches
# as many columns.
MOST_COLUMNS = 1000
# So many cells for each byte of the data, and one wide line more, may be there when blanks are written before a text.
# A log whose lines end with a column at the right needs about two.
CELLS_PER_BYTE = 4
_TOKEN = re.compile(
    r"\x1b\[(?P<parameters>[0-?]{0,64})[ -/]{0,8}(?P<final>[@-~])"
    # Operating system commands and their like have an end on the same line, or are no sequence.
    r"|(?P<dropped>\x1b[\]PX^_][^\x07\x1b\n]{0,8192}(?:\x07|\x1b\\)|\x1b[ -/]{1,4}[0-~]|\x1b[0-OQ-WYZ\\`-~]|\x07)"
    r"|(?P<move>[\r\b])"
    r"|(?P<text>(?:[^\x1b\r\b\x07]|\x1b)[^\x1b\r\b\x07]*)"
)
# C0 without tab, DEL and C1, the marks and overrides of writing direction, separators of lines, halves of surrogates.
_HIDDEN = re.compile(
    "[\\x00-\\x08\\x0a-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff]"
)
_BASE = (
    *((0, 0, 0), (205, 0, 0), (0, 205, 0), (205, 205, 0), (0, 0, 238), (205, 0, 205), (0, 205, 205), (229, 229, 229)),
    *((127, 127, 127), (255, 0, 0), (0, 255, 0), (255, 255, 0), (92, 92, 255), (255, 0, 255), (0, 255, 255)),
    (255, 255, 255),
)
_FLAGS = {1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "inverse", 9: "strike"}
_FLAGS_OFF = {22: ("bold", "dim"), 23: ("italic",), 24: ("underline",), 27: ("inverse",), 29: ("strike",)}


class Style(NamedTuple):
    """How a character looks. Colours are 0 to 15, or None for the default one."""

    foreground: int | None = None
    background: int | None = None
    bold: bool = False
    dim: bool = False
    italic: bool = False
    underline: bool = False
    inverse: bool = False
    strike: bool = False

    @property
    def classes(self) -> str:
        """The CSS classes, such as `f1 bold`; empty for a plain character."""
        names = [] if self.foreground is None else [f"f{self.foreground}"]
        names += [] if self.background is None else [f"b{self.background}"]
        return " ".join(names + [name for name in _FLAGS.values() if getattr(self, name)])


PLAIN = Style()


class Line(NamedTuple):
    """One line as it is shown. `at` is the offset of its first byte in the data; `html` is escaped; `text` is not."""

    at: int
    html: str
    text: str


class Rendered(NamedTuple):
    """Lines, and the style in which the next byte would be shown."""

    lines: tuple[Line, ...]
    style: Style


def render(data: bytes, style: Style = PLAIN, *, find: str = "") -> Rendered:
    """Renders a part of a log that begins where a line begins.

    Args:
        data: The bytes. What is not UTF-8 becomes `\ufffd`.
        style: The style at the beginning.
        find: Mark what is equal to this text, whatever its case. Empty: nothing.
    """
    screen = _Screen(style, CELLS_PER_BYTE * len(data) + MOST_COLUMNS)
    pieces = data.split(b"\n")
    at = 0
    for piece in pieces:
        screen.begin_line(at)
        screen.write(piece.decode(errors="replace"))
        at += len(piece) + 1
    rows = screen.rows if pieces[-1] or screen.row < len(screen.rows) - 1 else screen.rows[:-1]
    return Rendered(tuple(row.as_line(find) for row in rows), screen.style)


@dataclass
class _Row:
    at: int
    characters: list[str] = field(default_factory=list)
    styles: list[Style] = field(default_factory=list)

    def write(self, column: int, text: str, style: Style) -> None:
        missing = column - len(self.characters)
        if missing > 0:
            self.characters += " " * missing
            self.styles += [PLAIN] * missing
        self.characters[column : column + len(text)] = text
        self.styles[column : column + len(text)] = [style] * len(text)

    def cut(self, column: int) -> None:
        del self.characters[column:], self.styles[column:]

    def as_line(self, find: str) -> Line:
        text = "".join(self.characters)
        marks = _marks(text, find)
        html, start = [], 0
        for stop in range(1, len(text) + 1):
            if stop == len(text) or self.styles[stop] != self.styles[start] or marks[stop] != marks[start]:
                html.append(_span(text[start:stop], self.styles[start], bool(marks[start])))
                start = stop
        return Line(self.at, "".join(html), text)


def _marks(text: str, find: str) -> bytearray:
    """For each character whether it belongs to what is found. Nothing does if lower case changes the length."""
    marks, low, wanted = bytearray(len(text)), text.lower(), find.lower()
    if wanted and len(low) == len(text):
        for found in re.finditer(re.escape(wanted), low):
            marks[found.start() : found.end()] = b"\1" * len(found[0])
    return marks


def _span(text: str, style: Style, marked: bool) -> str:
    classes = style.classes
    shown = escape(text)
    if classes:
        shown = f'<span class="{classes}">{shown}</span>'
    return f"<mark>{shown}</mark>" if marked else shown


class _Screen:
    """The rows, and the cursor.

    Args:
        style: The style of the first character.
        most_cells: Blanks before a text are written only while there are not more cells than this. After that, the text
            continues its row.
    """

    def __init__(self, style: Style, most_cells: int) -> None:
        self.rows: list[_Row] = []
        self.row = -1
        self.column = 0
        self.style = style
        self._most_cells = most_cells
        self._cells = 0
        # A heap of the rows that have cells, as negative numbers: the lowest one is first. It may have a row twice, and
        # a row that was cut.
        self._filled: list[int] = []

    def begin_line(self, at: int) -> None:
        self.row += 1
        self.column = 0
        if self.row == len(self.rows):
            self.rows.append(_Row(at))

    def write(self, text: str) -> None:
        for token in _TOKEN.finditer(text):
            if token["text"] is not None:
                self._put(_HIDDEN.sub(_symbol, token["text"]))
            elif token["move"] is not None:
                self.column = 0 if token["move"] == "\r" else max(0, self.column - 1)
            elif token["final"] == "m":
                self.style = _restyled(self.style, token["parameters"])
            elif token["final"] is not None:
                self._move(token["final"], token["parameters"])

    def _put(self, text: str) -> None:
        row = self.rows[self.row]
        length = len(row.characters)
        missing = self.column - length
        # Behind MOST_COLUMNS there is only text, even if the cursor comes from a longer row.
        if missing > 0 and (self.column > MOST_COLUMNS or self._cells + missing > self._most_cells):
            self.column = length
        if not length:
            heappush(self._filled, -self.row)
        row.write(self.column, text, self.style)
        self._cells += len(row.characters) - length
        self.column += len(text)

    def _cut(self, row: int, column: int) -> None:
        self._cells -= max(0, len(self.rows[row].characters) - column)
        self.rows[row].cut(column)

    def _move(self, final: str, parameters: str) -> None:
        number = int(parameters[:4]) if parameters[:4].isdecimal() else 0
        row = self.rows[self.row]
        if final == "K":
            if number in (0, 2):
                self._cut(self.row, self.column if number == 0 else 0)
            else:
                stop = min(self.column + 1, len(row.characters))
                start = max(0, stop - MOST_COLUMNS)
                row.write(start, " " * (stop - start), PLAIN)
        elif final == "J" and number == 0:
            self._cut(self.row, self.column)
            while self._filled and -self._filled[0] > self.row:
                self._cut(-heappop(self._filled), 0)
        elif final in "AF":
            self.row = max(0, self.row - max(1, number))
        elif final in "BE":
            self.row = min(len(self.rows) - 1, self.row + max(1, number))
        elif final == "C":
            self.column = max(self.column, min(self.column + max(1, number), MOST_COLUMNS))
        elif final == "D":
            self.column = max(0, self.column - max(1, number))
        elif final == "G":
            self.column = min(max(1, number), MOST_COLUMNS) - 1
        if final in "EF":
            self.column = 0


def _symbol(found: re.Match[str]) -> str:
    number = ord(found[0])
    if number < 0x20:
        return chr(0x2400 + number)
    return "\u2421" if number == 0x7F else f"\\u{number:04x}"


def _restyled(style: Style, parameters: str) -> Style:
    """The style after a sequence `ESC [ parameters m`. What is unknown is ignored."""
    codes = iter(parameters.split(";"))
    for code in codes:
        first, *inner = code.split(":")
        number = _number(first)
        if number == 0:
            style = PLAIN
        elif number in (38, 48):
            colour = _extended(filter(None, inner) if inner else codes)
            if colour is not None:
                style = style._replace(foreground=colour) if number == 38 else style._replace(background=colour)
        elif number in _FLAGS:
            style = style._replace(**{_FLAGS[number]: inner[:1] != ["0"]})
        elif number in _FLAGS_OFF:
            style = style._replace(**dict.fromkeys(_FLAGS_OFF[number], False))
        elif 30 <= number <= 37 or 90 <= number <= 97:
            style = style._replace(foreground=number - 30 if number < 40 else number - 82)
        elif 40 <= number <= 47 or 100 <= number <= 107:
            style = style._replace(background=number - 40 if number < 50 else number - 92)
        elif number == 39:
            style = style._replace(foreground=None)
        elif number == 49:
            style = style._replace(background=None)
    return style


def _number(text: str) -> int:
    """A parameter; one that is missing is 0, one that is no number is unknown."""
    return int(text) if text.isdecimal() and len(text) <= 4 else (0 if not text else -1)


def _extended(rest: Iterator[str]) -> int | None:
    """The colour after 38 or 48: `5;N` of 256, or `2;R;G;B`."""
    kind = next(rest, "")
    if kind == "5":
        return _of_256(min(255, max(0, _number(next(rest, "0")))))
    if kind == "2":
        red, green, blue = (min(255, max(0, _number(next(rest, "0")))) for _ in range(3))
        return _nearest(red, green, blue)
    return None


@lru_cache(maxsize=256)
def _of_256(number: int) -> int:
    if number < 16:
        return number
    if number >= 232:
        level = 8 + 10 * (number - 232)
        return _nearest(level, level, level)
    number -= 16
    red, green, blue = (0 if each == 0 else 55 + 40 * each for each in (number // 36, number // 6 % 6, number % 6))
    return _nearest(red, green, blue)


@lru_cache(maxsize=4096)
def _nearest(red: int, green: int, blue: int) -> int:
    """The nearest of the 16 colours: the page has no inline style, so it has no other colours."""
    distances = [(red - r) ** 2 + (green - g) ** 2 + (blue - b) ** 2 for r, g, b in _BASE]
    return distances.index(min(distances))
