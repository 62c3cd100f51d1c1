"""Resources record less of Python's stack; errors keep all of it."""

from __future__ import annotations

import traceback

import pytest

from components.resources.short_stacks import FRAMES, short_stacks


def deep(levels: int) -> traceback.StackSummary:
    return deep(levels - 1) if levels else traceback.extract_stack()


def test_only_the_innermost_frames_are_recorded_meanwhile() -> None:
    with short_stacks():
        recorded = deep(20)
    assert len(recorded) == FRAMES
    assert recorded[-1].name == "deep"
    assert len(deep(20)) > 20


def test_the_traceback_of_an_error_is_complete() -> None:
    def fail(levels: int) -> None:
        if levels == 0:
            raise ValueError("the cause")
        fail(levels - 1)

    with pytest.raises(ValueError, match="the cause") as caught, short_stacks():
        fail(20)
    assert len(traceback.extract_tb(caught.value.__traceback__)) > 20
