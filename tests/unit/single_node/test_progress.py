"""A step says that it begins, that it lives, and that it is done; stdout stays free."""

from __future__ import annotations

import threading

import pytest

from single_node import progress


def test_a_long_step_says_that_it_lives(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "BEAT_SECONDS", 0.001)
    beaten = threading.Event()
    say = progress.say

    def listen(text: str) -> None:
        say(text)
        if text.startswith("still "):
            beaten.set()

    monkeypatch.setattr(progress, "say", listen)
    with progress.step("building x", "5 minutes"):
        assert beaten.wait(10)
    output = capsys.readouterr()
    lines = output.err.splitlines()
    assert output.out == ""
    assert lines[0] == "single node: building x (once; usually 5 minutes on two cores)"
    assert lines[1].startswith("single node: still building x, ")
    assert lines[-1].startswith("single node: done: building x, ")


def test_a_step_that_failed_is_not_called_done(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="no"), progress.step("building x"):
        raise ValueError("no")
    assert capsys.readouterr().err == "single node: building x\n"
