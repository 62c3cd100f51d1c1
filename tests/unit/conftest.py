"""Every fast test leaves the process as it was: its signal handlers, and the target that its remedies repeat."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from jobs import errors


@pytest.fixture(autouse=True)
def _unchanged_interrupts() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def _no_typed_target() -> Iterator[None]:
    yield
    errors.repeat_target([])
