"""One sentence of a diagnosis."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..spec.shown import SENTENCE_LIMIT, shown, visible

# Of `check`: jobs can run, jobs can run but there is a warning, jobs cannot run.
OK, WARNING, FAILED = "ok", "warning", "failed"
# Of `why`: the cause, a possible cause, the present state, an alert that fires, a part that could not be read.
CAUSE, CLUE, FACT, ALERT, UNREAD = "cause", "clue", "fact", "alert", "unread"


@dataclass(frozen=True)
class Finding:
    """One sentence of a diagnosis.

    Attributes:
        kind: OK, WARNING or FAILED in `check`; CAUSE, CLUE, FACT, ALERT or UNREAD in `why`.
        text: What was found, as it may be shown: see `jobs.spec.shown`.
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

    def __post_init__(self) -> None:
        # The sentence contains texts of servers and of other users: messages, names, reasons.
        object.__setattr__(self, "text", shown(self.text, SENTENCE_LIMIT, lines=True))
        object.__setattr__(self, "remedy", visible(self.remedy, lines=True))


def cause(text: str, remedy: str = "") -> Finding:
    return Finding(CAUSE, text, remedy)


def clue(text: str, remedy: str = "") -> Finding:
    return Finding(CLUE, text, remedy)


def fact(text: str, remedy: str = "") -> Finding:
    return Finding(FACT, text, remedy)


def alert(text: str, remedy: str = "") -> Finding:
    return Finding(ALERT, text, remedy)


def unread(text: str, remedy: str = "") -> Finding:
    return Finding(UNREAD, text, remedy)
