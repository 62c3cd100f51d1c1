"""The words of a command line as a POSIX shell reads them, with the place of each in the line.

Not `shlex`: the places are needed, to replace a part of a line and keep the rest as it was typed. And any text has
words: a quote that nothing closes is a letter like another.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

_PIECE = re.compile(
    r"(?P<word>[^\s;|&'\"\\]+)(?=[\s;|&]|\Z)"
    r"|(?P<space>\s+)"
    r"|(?P<continued>\\\r?\n)"
    r"|(?P<end>[;|&]+)"
    r"|(?P<plain>[^\s;|&'\"\\]+)"
    # A quote inside a word, as in "it's", is not closed in another line.
    r"|(?<!\w)'(?P<single>[^']*)'|(?<=\w)'(?P<single_inside>[^'\n]*)'"
    r'|(?<!\w)"(?P<double>[^"\\]*(?:\\.[^"\\]*)*)"|(?<=\w)"(?P<double_inside>[^"\\\n]*(?:\\.[^"\\\n]*)*)"'
    r"|(?P<escape>\\.)"
    r"|(?P<stray>['\"\\])",
    re.DOTALL,
)
# In double quotes a backslash before any other character is itself.
_ESCAPE = re.compile(r'\\(?:([$`"\\])|\r?\n)')


class Word(NamedTuple):
    """`text` is the word without its quotes; `raw` is as it stands in the line, from `start` to `end`.

    `parts` has the places of the runs of letters that `text` is made of, (in `text`, in the line), where they are many.
    """

    start: int
    end: int
    text: str
    raw: str
    parts: tuple[tuple[int, int], ...] = ()

    @property
    def is_quoted(self) -> bool:
        return self.text != self.raw

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The place in the line of `text[start:end]`, which is not empty."""
        return self._place(start), self._place(end - 1) + 1

    def _place(self, at: int) -> int:
        if not self.parts:
            return self.start + at
        inside, outside = self.parts[bisect_right(self.parts, (at, self.end)) - 1]
        return outside + at - inside


def words(line: str) -> Iterator[Word | None]:
    """The words of `line`, and None where one command ends and the next begins."""
    texts: list[str] = []
    parts: list[tuple[int, int]] = []
    length = start = end = 0
    pending = False

    def word() -> Word:
        return Word(start, end, "".join(texts), line[start:end], tuple(parts))

    def add(text: str, place: int) -> None:
        nonlocal length
        if text:
            texts.append(text)
            parts.append((length, place))
            length += len(text)

    for match in _PIECE.finditer(line):
        kind = match.lastgroup
        if kind == "word" and not pending:
            start, end = match.span()
            yield Word(start, end, match[0], match[0])
            continue
        if kind == "continued":
            continue
        if kind in ("space", "end"):
            if pending:
                yield word()
                texts, parts, length, pending = [], [], 0, False
            if kind == "end" or "\n" in match.group():
                yield None
            continue
        if not pending:
            start, pending = match.start(), True
        end = match.end()
        if kind in ("double", "double_inside"):
            at, inside = match.start(kind), match.group(kind)
            last = 0
            for escape in _ESCAPE.finditer(inside):
                add(inside[last : escape.start()], at + last)
                add(escape.group(1) or "", at + escape.start(1))
                last = escape.end()
            add(inside[last:], at + last)
        elif kind == "escape":
            add(match.group()[1], match.start() + 1)
        else:
            add(match.group(kind or 0), match.start(kind or 0))
    if pending:
        yield word()
