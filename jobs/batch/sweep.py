"""Parameter sweeps: every combination of `lr=1e-3,1e-4` and `seed=0..9`, in the places of `{lr}` and `{seed}`."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import Refused

MAX_COMBINATIONS = 10_000
Params = dict[str, str]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLACE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")


def parse(given: Sequence[str]) -> dict[str, list[str]]:
    """Reads sweeps from `name=value,value` or `name=first..last` (whole numbers, both included). Raises Refused."""
    sweep: dict[str, list[str]] = {}
    for text in given:
        name, equals, values = text.partition("=")
        if not equals:
            raise Refused(f"--sweep {text!r} has no '='.", "Write it like lr=1e-3,1e-4 or seed=0..9.")
        if name in sweep:
            raise Refused(f"--sweep names {name!r} twice.", "Write all its values at once, like lr=1e-3,1e-4.")
        sweep[name] = values_of(name, values.split(","))
    return sweep


def values_of(name: str, given: Sequence[str]) -> list[str]:
    """Returns the values, with ranges expanded. Raises Refused."""
    if not _NAME.fullmatch(name):
        raise Refused(
            f"A sweep cannot be named {name!r}.", "Allowed: letters, digits and '_'; the first must not be a digit."
        )
    values: list[str] = []
    for value in (each.strip() for each in given):
        ends = _RANGE.fullmatch(value)
        if not value:
            raise Refused(f"The sweep {name!r} has an empty value.", "Write it like lr=1e-3,1e-4 or seed=0..9.")
        if ends is None:
            values.append(value)
            continue
        first, last = int(ends[1]), int(ends[2])
        if last < first or last - first >= MAX_COMBINATIONS:
            raise Refused(
                f"The sweep {name!r} has the range {value}.",
                f"Write the smaller number first; at most {MAX_COMBINATIONS} values.",
            )
        values += map(str, range(first, last + 1))
    if len(set(values)) < len(values):
        raise Refused(f"The sweep {name!r} has a value twice.", "Remove one: it would be the same job.")
    return values


def combinations(sweep: Mapping[str, Sequence[str]]) -> list[Params]:
    """Returns every combination, the last name varying fastest; an empty one without a sweep. Raises Refused."""
    count = 1
    for values in sweep.values():
        count *= len(values)
    if count > MAX_COMBINATIONS:
        raise Refused(f"The sweep has {count} combinations; {MAX_COMBINATIONS} are allowed.", "Split it.")
    return [dict(zip(sweep, values, strict=True)) for values in itertools.product(*sweep.values())]


def fill(value: Any, params: Mapping[str, str]) -> Any:
    """Replaces `{name}` in every string in the value. Other braces (shell, JSON) stay."""
    if isinstance(value, str):
        # In one pass, so that a value that looks like {name} is not replaced again.
        return _PLACE.sub(lambda match: params.get(match[1], match[0]), value)
    if isinstance(value, Mapping):
        return {key: fill(inner, params) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(fill(inner, params) for inner in value)
    return value


def uses(value: Any, name: str) -> bool:
    """Returns whether `{name}` is anywhere in the value."""
    return bool(fill(value, {name: "\0"}) != value)
