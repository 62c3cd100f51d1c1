"""The keeper's folder as the event loop uses it: one thread writes it, the loop waits for nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from ..errors import LedgerFault
from ..ledger.keeping import Keeping, Limits
from ..ledger.records import Place

T = TypeVar("T")

REOPEN_SECONDS = 10.0


class Store:
    """A Keeping in a thread of its own. What is given to `run` is done in that order, one after the other.

    Args:
        directory: See Keeping, as all others.
        place: The cluster.
        limits: How much is kept.
        notify: Called with messages for a person.

    Attributes:
        opened: How often the folder was opened. It is opened again if its database is damaged, and then has no jobs.
    """

    def __init__(self, directory: Path, place: Place, limits: Limits, notify: Callable[[str], None]) -> None:
        self.directory = directory
        self.place = place
        self.limits = limits
        self.notify = notify
        self.opened = 0
        self._keeping: Keeping | None = None
        self._refusal: LedgerFault | None = None
        self._open_at = 0.0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")

    async def open(self) -> None:
        """Opens the folder now; else the first `run` does it. Raises LedgerFault."""
        await self.run(lambda _keeping: None)

    async def run(self, work: Callable[[Keeping], T]) -> T:
        """Returns the result of `work`, or raises its error. If the caller is cancelled, `work` may be done still.

        If the folder cannot be opened, it raises LedgerFault, and a later call tries it again.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, work)

    def _run(self, work: Callable[[Keeping], T]) -> T:
        keeping = self._keeping or self._open()
        try:
            return work(keeping)
        except LedgerFault as fault:
            if fault.damaged:
                self._close()
            raise

    def _open(self) -> Keeping:
        """Opens the folder, which checks the whole database: not more often than every REOPEN_SECONDS."""
        if self._refusal is not None and time.monotonic() < self._open_at:
            raise self._refusal.with_traceback(None)
        try:
            self._keeping = Keeping(self.directory, self.place, self.limits, self.notify)
        except LedgerFault as fault:
            self._refusal, self._open_at = fault, time.monotonic() + REOPEN_SECONDS
            raise
        self._refusal = None
        self.opened += 1
        return self._keeping

    def _close(self) -> None:
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.close()

    async def close(self) -> None:
        """Writes what waits in memory, and lets go of the folder. Raises LedgerFault."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        finally:
            self._thread.shutdown(wait=False)
