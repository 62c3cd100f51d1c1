"""How deeply JSON of a server may be nested."""

from __future__ import annotations

from typing import Any

# Ray's own answers have about ten levels.
MOST_LEVELS = 64
CONTAINERS = frozenset({dict, list})


def check_levels(value: Any) -> None:
    """Raises ValueError for a JSON value that is nested too deeply for the functions that walk through it."""
    level: list[Any] = [[value]]
    for _ in range(MOST_LEVELS + 1):
        # JSON has no subclasses: comparing types takes a third of the time of isinstance.
        level = [
            inner
            for each in level
            for inner in (each.values() if type(each) is dict else each)
            if type(inner) in CONTAINERS
        ]
        if not level:
            return
    raise ValueError(f"it has more than {MOST_LEVELS} levels")
