"""A keeper's loop in a thread of the test's process, over a stand-in of Ray."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from jobs.connection import open_connection
from jobs.errors import LedgerFault
from jobs.keeper import explain, follow, keeper, watch
from jobs.keeper.keeper import Keeper, open_keeper
from jobs.ledger.keeping import Limits
from jobs.ledger.kept import KeptJobs
from jobs.ledger.records import Entry
from jobs.target.options import TargetOptions
from jobs.target.resolve import resolve
from tests.support.command import wait_until
from tests.support.fake_ray import FakeRay


@dataclass
class Loop:
    """A keeper that runs, and what it has said."""

    keeper: Keeper
    messages: list[str] = field(default_factory=list)

    @property
    def kept(self) -> KeptJobs:
        return self.keeper.kept

    def job(self, submission_id: str) -> Entry:
        entry = self.kept.job(submission_id)
        assert entry is not None, submission_id
        return entry

    def status(self, submission_id: str) -> str | None:
        entry = self.kept.job(submission_id)
        return None if entry is None else entry.status

    def log(self, submission_id: str) -> bytes:
        return b"".join(self.kept.read_log(submission_id))

    def is_complete(self, submission_id: str) -> bool:
        extent = self.kept.log_extent(submission_id)
        return extent is not None and extent.complete

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [event.data for event in self.kept.events(limit=100_000) if event.kind == kind]


def be_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shortens the pauses, so that a test takes less than a second."""
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(watch, "RESTING_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(watch, "FIRST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(watch, "LONGEST_PAUSE_SECONDS", 0.2)
    monkeypatch.setattr(watch, "SILENT_SECONDS", 1.0)
    monkeypatch.setattr(watch, "ATTEMPT_SECONDS", 1.0)
    monkeypatch.setattr(follow, "FIRST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(follow, "LONGEST_PAUSE_SECONDS", 0.2)
    monkeypatch.setattr(follow, "LONGEST_FAILURE_SECONDS", 0.2)
    monkeypatch.setattr(follow, "RESTING_READS_PER_SECOND", 1000.0)
    monkeypatch.setattr(keeper, "FLUSH_SECONDS", 0.05)
    monkeypatch.setattr(keeper, "FAULT_SECONDS", 0.1)
    monkeypatch.setattr(explain, "AGAIN_SECONDS", 0.1)


@contextmanager
def looping(ray: FakeRay, folder: Path, limits: Limits | None = None, token_file: Path | None = None) -> Iterator[Loop]:
    """Runs a keeper of `ray` over a folder until the end of the context."""
    started = threading.Event()
    found: list[Loop] = []
    failed: list[BaseException] = []
    stop: list[Any] = []

    async def main() -> None:
        messages: list[str] = []
        target = resolve(
            TargetOptions(address=ray.url, token_file=None if token_file is None else str(token_file)), environ={}
        )
        async with (
            open_connection(target) as connection,
            open_keeper(connection, folder, limits or Limits(), messages.append) as opened,
        ):
            task = asyncio.ensure_future(opened.run())
            found.append(Loop(opened, messages))
            stop.append((asyncio.get_running_loop(), task))
            started.set()
            await asyncio.gather(task, return_exceptions=True)
            if not task.cancelled() and task.exception() is not None:
                raise task.exception() or AssertionError

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            failed.append(error)
            started.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    started.wait(30)
    if failed:
        raise failed[0]
    try:
        yield found[0]
    finally:
        loop, task = stop[0]
        if thread.is_alive():
            loop.call_soon_threadsafe(task.cancel)
        thread.join(30)
        if failed:
            raise failed[0]


def until(condition: Any, seconds: float = 60.0) -> None:
    """Waits until a condition holds. Before that it may raise AssertionError, or LedgerFault of a reader."""

    def holds() -> bool:
        try:
            return bool(condition())
        except (AssertionError, LedgerFault):
            return False

    wait_until(holds, seconds)
