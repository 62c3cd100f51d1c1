"""Parameter sweeps: `lr=1e-3,1e-4` and `seed=0..9` become every combination, put where `{lr}` and `{seed}` stand."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import Refused

MOST = 10_000
Params = dict[str, str]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLACE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")


def parse(given: Sequence[str]) -> dict[str, list[str]]:
    """`name=value,value` or `name=first..last` (whole numbers, both ends included), as often as wanted."""
    sweep: dict[str, list[str]] = {}
    for text in given:
        name, equals, values = text.partition("=")
        if not equals:
            raise Refused(f"--sweep {text!r} has no '='.", "Write it like lr=1e-3,1e-4 or seed=0..9.")
        if name in sweep:
            raise Refused(f"--sweep names {name!r} twice.", "Give all its values at once, like lr=1e-3,1e-4.")
        sweep[name] = values_of(name, values.split(","))
    return sweep


def values_of(name: str, given: Sequence[str]) -> list[str]:
    """The values, ranges written out. Raises Refused."""
    if not _NAME.fullmatch(name):
        raise Refused(
            f"A sweep cannot be named {name!r}.", "Allowed: letters, digits and '_', not beginning with a digit."
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
        if last < first or last - first >= MOST:
            raise Refused(f"The sweep {name!r} has the range {value}.", f"From the smaller, and up to {MOST} values.")
        values += map(str, range(first, last + 1))
    if len(set(values)) < len(values):
        raise Refused(f"The sweep {name!r} has a value twice.", "Leave one out: it would be the same job.")
    return values


def combinations(sweep: Mapping[str, Sequence[str]]) -> list[Params]:
    """Every combination, the last name varying fastest; one empty one for no sweep. Raises Refused."""
    count = 1
    for values in sweep.values():
        count *= len(values)
    if count > MOST:
        raise Refused(f"The sweep has {count} combinations; {MOST} are allowed.", "Split it.")
    return [dict(zip(sweep, values, strict=True)) for values in itertools.product(*sweep.values())]


def fill(value: Any, params: Mapping[str, str]) -> Any:
    """The value with `{name}` replaced in every string in it. Other braces (shell, JSON) are left as they are."""
    if isinstance(value, str):
        # In one pass: a value that itself looks like {name} is not replaced again.
        return _PLACE.sub(lambda match: params.get(match[1], match[0]), value)
    if isinstance(value, Mapping):
        return {key: fill(inner, params) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(fill(inner, params) for inner in value)
    return value


def uses(value: Any, name: str) -> bool:
    """Whether `{name}` stands anywhere in it."""
    return bool(fill(value, {name: "\0"}) != value)
