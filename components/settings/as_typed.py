"""What YAML changes on the way from the text of a stack file to a setting that is text; pure.

Pulumi's engine gives the program values, not their text: 012345678901, 0755 and 1.10 arrive as 12345678901, 493 and
1.1, and 2026-01-02 as "2026-01-02 00:00:00 +0000 UTC". kubectl refuses every number and boolean in a text place. Here
one passes if the stack file shows the same text, such as 4 or true.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jobs.yaml_file import PlainText, reads_as_text

Location = tuple[int | str, ...]

# How Go prints a date, which the engine sends for one that YAML has read.
GO_DATE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)? [-+]\d{4} \S+")


def text_of(value: bool | int | float) -> str:
    """Returns a number or a boolean as text."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def at(typed: Any, location: Sequence[int | str]) -> Any:
    """Returns the text at a location of the settings; None: the file has nothing there."""
    for step in location:
        if isinstance(step, str) and isinstance(typed, list):  # groups and variables by name
            typed = next((item for item in typed if isinstance(item, Mapping) and item.get("name") == step), None)
        elif isinstance(step, int):
            typed = typed[step] if isinstance(typed, list) and step < len(typed) else None
        else:
            typed = typed.get(step) if isinstance(typed, Mapping) else None
    # A variable in a list of `env`.
    return typed.get("value") if isinstance(typed, Mapping) else typed


def changed(values: Any, typed: Any, location: Location = ()) -> Iterator[tuple[Location, str]]:
    """Yields text that YAML has changed and that is still text: dates, keys, and settings that are one value.

    Args:
        values: a stack's settings as the engine gives them.
        typed: the same, as typed; parts can be missing.
        location: where they are.

    Yields:
        The location, and the text that was typed or, where it is not known, the value.
    """
    if isinstance(values, Mapping):
        texts = typed if isinstance(typed, Mapping) else {}
        for key in texts.keys() - values.keys():
            if isinstance(key, PlainText) and not reads_as_text(key) and values.keys() - texts.keys():
                yield (*location, str(key)), str(key)
        for key, value in values.items():
            yield from changed(value, texts.get(key), (*location, key))
    elif isinstance(values, list):
        items = typed if isinstance(typed, list) else []
        for index, value in enumerate(values):
            yield from changed(value, items[index] if index < len(items) else None, (*location, index))
    elif isinstance(values, str) and values != typed:
        one_value = len(location) == 1 and isinstance(typed, PlainText) and not reads_as_text(values)
        if GO_DATE.fullmatch(values) or (one_value and not reads_as_text(str(typed))):
            yield location, typed if isinstance(typed, str) else values
