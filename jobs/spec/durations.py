"""Durations and points in time as a person types them: `7d`, `90m`, `2026-11-26 14:00`. Pure."""

from __future__ import annotations

import re

from ..errors import Refused

UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
_DURATION = r"(?:\d+(?:\.\d+)?(?:min|[smhdw]))+"
_PART = r"(\d+(?:\.\d+)?)(min|[smhdw])"
ALLOWED = "Write a duration such as 45s, 30m, 2h, 7d or 1d12h"


def parse_duration(text: str, option: str) -> float:
    """Returns the seconds of a duration such as `7d` or `1h30m`. Raises Refused, which names the option."""
    text = text.strip().lower()
    if not re.fullmatch(_DURATION, text):
        raise Refused(f"{option} {text!r} is not a duration.", f"{ALLOWED}.")
    return sum(float(number) * UNITS[unit] for number, unit in re.findall(_PART, text))


def parse_since(text: str, option: str, now: float) -> float:
    """Returns the point in time, in seconds since the epoch.

    Args:
        text: A duration before `now`, or a date with or without a time. Without a zone it is in this machine's.
        option: The flag, for the error.
        now: Seconds since the epoch.

    Raises:
        Refused: It is neither.
    """
    from datetime import datetime

    text = text.strip()
    if re.fullmatch(_DURATION, text.lower()):
        return now - parse_duration(text, option)
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError, OSError):
        raise Refused(
            f"{option} {text!r} is neither a duration nor a date.", f"{ALLOWED}, or a date such as 2026-11-26 14:00."
        ) from None


def show_duration(seconds: float) -> str:
    """Returns a duration in at most two units, such as `45s`, `3m20s`, `2h05m` or `3d04h`."""
    whole = max(0, int(seconds))
    for unit, length, smaller, step in (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if whole >= length:
            return f"{whole // length}{unit}{whole % length // step:02}{smaller}"
    return f"{whole}s"
