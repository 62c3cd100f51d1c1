"""Durations and points in time, as a person types them."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from jobs.errors import Refused
from jobs.spec.durations import parse_duration, parse_since, show_duration


@pytest.mark.parametrize(
    ("text", "seconds"), [("45s", 45), ("30m", 1800), ("2h", 7200), ("7d", 604800), ("1d12H", 129600), ("1.5h", 5400)]
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert parse_duration(text, "--older-than") == seconds
    assert parse_since(text, "--since", 1e6) == 1e6 - seconds


@pytest.mark.parametrize("text", ["", "7", "d", "-1d", "7 days", "1d 2", "infs"])
def test_what_is_no_duration_is_refused_with_the_option_and_what_is_allowed(text: str) -> None:
    for read in (lambda: parse_duration(text, "--older-than"), lambda: parse_since(text, "--older-than", 0.0)):
        with pytest.raises(Refused, match="--older-than") as error:
            read()
        assert "7d" in error.value.remedy


def test_a_date_with_a_zone_is_that_moment_and_one_without_is_of_this_machine() -> None:
    at = datetime(2026, 11, 26, 14, tzinfo=timezone.utc).timestamp()
    assert parse_since("2026-11-26T14:00:00Z", "--since", 0.0) == at
    assert parse_since("2026-11-26 14:00", "--since", 0.0) == datetime(2026, 11, 26, 14).timestamp()


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0s"), (59.9, "59s"), (200, "3m20s"), (7500, "2h05m"), (273600, "3d04h")]
)
def test_a_duration_is_shown_in_two_units(seconds: float, text: str) -> None:
    assert show_duration(seconds) == text
