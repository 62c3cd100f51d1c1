"""The Python API where no Ray answers."""

from __future__ import annotations

import pytest

from jobs import JobsError, connect


def test_a_client_that_cannot_connect_raises_and_leaves_no_thread() -> None:
    import threading

    before = threading.active_count()
    with pytest.raises(JobsError, match="--allow-unauthenticated"), connect("https://ray.example.com"):
        pass
    assert threading.active_count() == before
