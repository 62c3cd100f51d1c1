"""One sentence of an answer to `why`."""

from __future__ import annotations

from dataclasses import dataclass

CAUSE, CLUE, FACT, UNREAD = "cause", "clue", "fact", "unread"


@dataclass(frozen=True)
class Finding:
    """`kind`: a cause, a clue (it may have to do with it), a fact (how things stand), or unread (what could not be
    looked at). `do` is the command or change that helps, or empty."""

    kind: str
    text: str
    do: str = ""


def cause(text: str, do: str = "") -> Finding:
    return Finding(CAUSE, text, do)


def clue(text: str, do: str = "") -> Finding:
    return Finding(CLUE, text, do)


def fact(text: str, do: str = "") -> Finding:
    return Finding(FACT, text, do)


def unread(text: str, do: str = "") -> Finding:
    return Finding(UNREAD, text, do)
