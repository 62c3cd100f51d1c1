"""The one error of the program that a person is meant to read."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi


class StackError(pulumi.RunError):
    """Stops the program before anything is registered; Pulumi shows the message without a traceback."""


def refuse(heading: str, problems: Sequence[str]) -> None:
    """Raises StackError with all `problems`, one a line, if there are any."""
    if problems:
        raise StackError("\n".join([heading, *(f"  - {problem}" for problem in problems)]))
