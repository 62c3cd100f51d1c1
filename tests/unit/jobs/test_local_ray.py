"""`--local` where another process starts or stops the local Ray."""

from __future__ import annotations

import asyncio
import fcntl
from pathlib import Path

import pytest

from jobs import local_ray as local
from jobs.errors import DeadlinePassed


def test_a_start_by_somebody_else_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYJOBS_LOCAL_DIR", str(tmp_path))
    monkeypatch.setattr(local, "START_SECONDS", 0.2)
    monkeypatch.setattr(local, "STOP_SECONDS", 0.2)
    with (local.directory() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DeadlinePassed, match="Another process has held"):
            asyncio.run(asyncio.wait_for(local.stop(), 10))
