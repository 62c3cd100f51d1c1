"""Texts of messages that are made in one place."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.errors import number_of

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(("number", "text"), [(0, "0 files"), (1, "1 file"), (2, "2 files"), (1000, "1000 files")])
def test_one_thing_is_singular_and_every_other_number_is_plural(number: int, text: str) -> None:
    assert number_of(number, "file") == text


def test_no_message_leaves_the_plural_open() -> None:
    files = [path for folder in ("jobs", "components", "ops", "single_node") for path in (ROOT / folder).rglob("*.py")]
    assert [str(path.relative_to(ROOT)) for path in files if "(s)" in path.read_text()] == []
