"""The keeper of one cluster: it watches the jobs, follows their logs, and records both in a folder.

async with open_connection(target) as connection, open_keeper(connection, folder) as keeper:
    with serving(create_app(served_of(keeper, access)), bound_socket()) as url:
        await keeper.run()
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from ..activity import muted
from ..connection import Connection
from ..errors import LedgerFault
from ..ledger.keeping import Keeping, Limits
from ..ledger.kept import KeptJobs
from ..ledger.recorder import place_of
from ..target.resolve import is_in_cluster
from .cluster import LiveCluster
from .explain import WhyRecorder
from .follow import LogFollowers
from .problems import Problems
from .store import Store
from .watch import Watch
from .web.cluster_view import KeeperState

FLUSH_SECONDS, RETAIN_SECONDS = 1.0, 60.0
# Between two attempts while the folder cannot be written. An attempt compresses what waits in memory.
FAULT_SECONDS = 5.0
KEEP_ALL = Limits()
NOT_READ = "The jobs of the cluster were not read yet."


class Keeper:
    """Keeps the jobs of one cluster while `run` runs. `open_keeper` makes one.

    Attributes:
        connection: The cluster.
        kept: What is kept, for readers in any thread.
        cluster: The live cluster, for the page.
    """

    def __init__(
        self,
        connection: Connection,
        store: Store,
        notify: Callable[[str], None],
        *,
        only_wanted: bool = False,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.connection = connection
        self.kept = KeptJobs(store.directory)
        self.cluster = LiveCluster(connection)
        self._store = store
        self._problems = Problems(notify)
        self._explanations = WhyRecorder(connection, store, lambda: self._watch.is_silent)
        self._followers = LogFollowers(
            connection, store, self._problems, lambda: self._watch.is_silent, notify, only_wanted
        )
        self._watch = Watch(connection, store, self._followers, self._explanations, self._problems)

    def state(self) -> KeeperState:
        """Returns how far behind it is, and its problems. It may be called from any thread."""
        behind = self._watch.behind_seconds
        problems = self._problems.texts or ((NOT_READ,) if behind is None else ())
        return KeeperState(behind, problems)

    def want(self, submission_id: str) -> None:
        """Makes the log of a job be read, if only those are that somebody wants. It may be called from any thread."""
        asyncio.run_coroutine_threadsafe(self._followers.want(submission_id), self._loop)

    async def run(self) -> None:
        """Keeps until it is cancelled. It goes on after every fault of Ray, the network and the folder."""
        with muted():
            work = [self._watch.run(), self._explanations.run(), self.cluster.run(), self._write()]
            tasks = [asyncio.ensure_future(each) for each in work]
            try:
                await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await self._followers.close()

    async def _write(self) -> None:
        """Writes what was appended each second, and removes each minute what is older than the limits."""
        until_retain = 0.0
        while True:
            self._watch.report()
            is_written = await self._attempt("logs", lambda keeping: keeping.flush(), "Logs are written again.")
            if until_retain <= 0 and await self._attempt(
                "limits", lambda keeping: keeping.retain(), "Old jobs are removed again."
            ):
                until_retain = RETAIN_SECONDS
            pause = FLUSH_SECONDS if is_written else FAULT_SECONDS
            until_retain -= pause
            await asyncio.sleep(pause)

    async def _attempt(self, key: str, work: Callable[[Keeping], object], again: str) -> bool:
        """Does a work of the store. Returns whether it was done; if not, that is a problem until it is."""
        try:
            await self._store.run(work)
        except LedgerFault as fault:
            self._problems.begin(key, fault.message)
            return False
        self._problems.end(key, again)
        return True


@asynccontextmanager
async def open_keeper(
    connection: Connection,
    directory: Path,
    limits: Limits = KEEP_ALL,
    notify: Callable[[str], None] = lambda _text: None,
    *,
    only_wanted: bool = False,
) -> AsyncIterator[Keeper]:
    """Opens a keeper's folder for the jobs of a connection. At the end, everything that was read is written.

    In a pod it goes on if the folder cannot be opened, such as on a full disk, and tries it again and again: what was
    kept can be read meanwhile, and a process that ends would only be started again.

    Args:
        connection: The cluster.
        directory: The folder; it is made if necessary.
        limits: How much is kept.
        notify: Called with messages for a person: a problem began or ended, a damaged database was set aside. It may
            come from another thread.
        only_wanted: Only logs are read for which `Keeper.want` was called.

    Raises:
        LedgerFault: Another keeper uses the folder, it cannot be written, or a newer version wrote it. Not in a pod.
    """
    store = Store(directory, place_of(connection.target, connection.identity), limits, notify)
    try:
        if not is_in_cluster(connection.target):
            await store.open()
        yield Keeper(connection, store, notify, only_wanted=only_wanted)
    finally:
        try:
            await store.close()
        except LedgerFault as fault:
            notify(f"What was read last was not written, and will be read again: {fault.message}")
