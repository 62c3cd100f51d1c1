"""One sentence of a diagnosis."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# Of `check`: jobs can run, jobs can run but something should be known, jobs cannot run.
OK, WARNING, FAILED = "ok", "warning", "failed"
# Of `why`: it explains the problem, it may have to do with it, it is how things stand, it could not be read.
CAUSE, CLUE, FACT, UNREAD = "cause", "clue", "fact", "unread"


@dataclass(frozen=True)
class Finding:
    """One sentence of a diagnosis.

    Attributes:
        kind: OK, WARNING or FAILED in `check`; CAUSE, CLUE, FACT or UNREAD in `why`.
        text: What was found.
        remedy: The command or the change that helps; may be empty.
        step: The step of `check`, such as `head`; empty in `why`.
        exit_code: The exit code of `check` if the step failed.
        data: The numbers behind the text, for JSON.
    """

    kind: str
    text: str
    remedy: str = ""
    step: str = ""
    exit_code: int = 0
    data: dict[str, Any] | None = field(default=None, compare=False)


def cause(text: str, remedy: str = "") -> Finding:
    return Finding(CAUSE, text, remedy)


def clue(text: str, remedy: str = "") -> Finding:
    return Finding(CLUE, text, remedy)


def fact(text: str, remedy: str = "") -> Finding:
    return Finding(FACT, text, remedy)


def unread(text: str, remedy: str = "") -> Finding:
    return Finding(UNREAD, text, remedy)
