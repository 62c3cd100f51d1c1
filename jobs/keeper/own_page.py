"""The page of one person on this machine, for a cluster without a keeper.

Its jobs are in a temporary folder: those of the local job history, and then those that Ray lists, written by the same
loop as a keeper's. A log is read from Ray when somebody opens it, and only then: a cluster may have a thousand.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from ..connection import open_connection
from ..deadline import Deadline
from ..errors import JobsError, LedgerFault, LocalFault, Refused
from ..ledger.copied import copy_jobs
from ..ledger.keeping import Limits
from ..ledger.kept import KeptJobs, LogExtent
from ..ledger.recorder import place_of
from ..ledger.records import Tail
from ..target.resolve import Target
from .client import path_to
from .keeper import Keeper, open_keeper
from .web.access import Access
from .web.app import Served, create_app
from .web.cluster_view import ClusterState, KeeperState
from .web.serve import bound_socket, serving

# Of a longer log, begin and end are shown.
LIMITS = Limits(log_bytes=512 * 1024**2)
# How long a page waits for the first bytes of a log that nobody opened before.
FIRST_BYTES_SECONDS = 4.0
# How long the first list of jobs is awaited.
FIRST_LOOK_SECONDS = 10.0
# Between two attempts to reach a cluster that does not answer.
RETRY_SECONDS = 5.0
NOT_CONNECTED = "The cluster is being connected."


class OwnJobs(KeptJobs):
    """The jobs of the folder. Asking for a log makes it be read from Ray.

    Of a job that Ray no longer has, the end of the log comes from the local job history, if that has it.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._wanted: set[str] = set()
        self._keeper: Keeper | None = None

    def use(self, keeper: Keeper | None) -> None:
        """Takes what reads logs from Ray now; None: nothing does."""
        self._keeper = keeper
        if keeper is not None:
            for submission_id in self._wanted.copy():
                keeper.want(submission_id)

    def log_extent(self, submission_id: str) -> LogExtent | None:
        """See KeptJobs. The first call waits a few seconds for the first bytes."""
        until = time.monotonic()
        if submission_id not in self._wanted:
            self._wanted.add(submission_id)
            if keeper := self._keeper:
                keeper.want(submission_id)
                until += FIRST_BYTES_SECONDS
        while (extent := super().log_extent(submission_id)) is None and time.monotonic() < until:
            time.sleep(0.1)
        if extent is not None:
            return extent
        tail = self._tail(submission_id)
        if tail is None:
            return None
        missing = tail.total - len(tail.data)
        return LogExtent(tail.total, (0, missing) if missing else None, True)

    def read_log(self, submission_id: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """See KeptJobs."""
        tail = None if super().log_extent(submission_id) else self._tail(submission_id)
        if tail is None:
            yield from super().read_log(submission_id, start, stop)
            return
        missing = tail.total - len(tail.data)
        yield tail.data[max(0, start - missing) : max(0, (tail.total if stop is None else stop) - missing)]

    def _tail(self, submission_id: str) -> Tail | None:
        """The end of a log in the local job history."""
        return self._ledger.tail(submission_id)


class OwnPage:
    """The jobs of one cluster on this machine, for the page.

    Attributes:
        jobs: The jobs.
        is_tried: Set when the jobs of Ray were read for the first time, or it does not answer.
    """

    def __init__(self, target: Target, directory: Path, notify: Callable[[str], None]) -> None:
        self.jobs = OwnJobs(directory)
        self.is_tried = asyncio.Event()
        self._target = target
        self._directory = directory
        self._notify = notify
        self._keeper: Keeper | None = None
        self._problem = NOT_CONNECTED

    def keeper_state(self) -> KeeperState:
        """Returns how current the jobs are."""
        keeper = self._keeper
        return KeeperState(None, (self._problem,)) if keeper is None else keeper.state()

    def state(self) -> ClusterState:
        """Returns the cluster; see ClusterView."""
        keeper = self._keeper
        if keeper is None:
            return ClusterState(self._target.name, time.time(), problem=self._problem)
        return keeper.cluster.state()

    async def run(self) -> None:
        """Keeps the jobs current until it is cancelled. A cluster that does not answer is tried again.

        Raises:
            Refused, LocalFault: The target cannot be used.
        """
        while True:
            try:
                async with AsyncExitStack() as stack:
                    connection = await stack.enter_async_context(open_connection(self._target, notify=self._notify))
                    self._keeper = await stack.enter_async_context(
                        open_keeper(connection, self._directory, LIMITS, self._notify, only_wanted=True)
                    )
                    self.jobs.use(self._keeper)
                    try:
                        await asyncio.gather(self._keeper.run(), self._wait_for_jobs(self._keeper))
                    finally:
                        self._keeper = None
                        self.jobs.use(None)
            except (Refused, LocalFault):
                raise
            except JobsError as error:
                if error.message != self._problem:
                    self._problem = error.message
                    self._notify(f"The page shows the local job history only: {error.message}")
            self.is_tried.set()
            await asyncio.sleep(RETRY_SECONDS)

    async def _wait_for_jobs(self, keeper: Keeper) -> None:
        until = Deadline(FIRST_LOOK_SECONDS)
        while keeper.state().behind_seconds is None and not until.passed:
            await asyncio.sleep(0.05)
        self.is_tried.set()


@asynccontextmanager
async def own_page(
    target: Target, ledger: Path, submission_id: str | None, port: int, notify: Callable[[str], None]
) -> AsyncIterator[tuple[Callable[[], str], OwnPage]]:
    """Serves the page on this machine until the end of the context.

    Args:
        target: The Ray cluster.
        ledger: The file of the local job history.
        submission_id: The job whose page the link opens; None: the list of jobs.
        port: The port on 127.0.0.1; 0: a free one.
        notify: Called with messages for a person.

    Yields:
        What makes a link, which opens the page once, within a minute; and the page, whose `run` keeps it current.

    Raises:
        LocalFault: The port is taken.
    """
    try:
        bound = bound_socket(port=port)
    except OSError as error:
        raise LocalFault(
            f"Port {port} on 127.0.0.1 cannot be used: {error.strerror or error}.",
            "Choose another one with --port, or leave it out to get a free one.",
        ) from None
    with bound, tempfile.TemporaryDirectory(prefix="rayjobs-page-", ignore_cleanup_errors=True) as folder:
        place = place_of(target, target.identity or "")
        try:
            copy_jobs(ledger, Path(folder), identity=target.identity, kind=place.kind)
        except LedgerFault as fault:
            notify(f"The local job history is not shown: {fault.message}")
        page = OwnPage(target, Path(folder), notify)
        access = Access()
        app = create_app(Served(page.jobs, access, page.keeper_state, page))
        with serving(app, bound) as url:
            yield (lambda: f"{url}{path_to(access.new_path(), submission_id)}"), page
