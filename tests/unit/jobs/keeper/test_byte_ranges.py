"""byte_ranges: the Range header of one range."""

from __future__ import annotations

import pytest

from jobs.keeper.web.byte_ranges import Unsatisfiable, parse_range, without_gap


@pytest.mark.parametrize(
    ("header", "chosen"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=0-9", (0, 10)),
        ("bytes=4-", (4, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-99", (0, 10)),
        ("bytes=9-99999999999", (9, 10)),
        (None, None),
        ("bytes=", None),
        ("bytes=-", None),
        ("bytes=5-2", None),
        ("bytes=0-1,3-4", None),
        ("lines=0-1", None),
        ("bytes=a-b", None),
        ("bytes=1-2-3", None),
        ("bytes=\u0661-", None),
        ("bytes=" + "9" * 5000 + "-", None),
    ],
)
def test_one_range_is_read_and_everything_else_is_ignored(header: str | None, chosen: tuple[int, int] | None) -> None:
    assert parse_range(header, 10) == chosen


@pytest.mark.parametrize(("header", "total"), [("bytes=10-", 10), ("bytes=-0", 10), ("bytes=0-", 0), ("bytes=-5", 0)])
def test_a_range_without_a_byte_cannot_be_satisfied(header: str, total: int) -> None:
    with pytest.raises(Unsatisfiable):
        parse_range(header, total)


def test_of_a_range_with_a_gap_the_first_part_is_given() -> None:
    assert without_gap(0, 10, None) == (0, 10)
    assert without_gap(0, 10, (4, 6)) == (0, 4)
    assert without_gap(4, 10, (4, 6)) == (6, 10)
    assert without_gap(0, 4, (4, 6)) == (0, 4)
    assert without_gap(6, 9, (4, 6)) == (6, 9)
    with pytest.raises(Unsatisfiable):
        without_gap(4, 6, (4, 6))
