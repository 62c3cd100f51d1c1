"""Writes a session's jobs into the ledger. A failure here never fails a job."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Conflict, LedgerFault, Refused
from ..spec.job_info import JobInfo
from ..spec.job_spec import JobSpec, is_local_path
from ..target.resolve import ClusterTarget, LocalTarget, Target
from .git import commit_of
from .records import DELETED, REFUSED, SUBMITTING, Origin, Place, TailBuffer
from .store import Ledger

if TYPE_CHECKING:
    from ..upload.plan import Plan


def place_of(target: Target, identity: str) -> Place:
    """Returns the place of a connection's jobs; `identity` is the connection's."""
    if isinstance(target, ClusterTarget):
        cluster = target.cluster
        return Place(identity, "stack", target.contract.stack, cluster.name, cluster.namespace)
    return Place(identity, "local" if isinstance(target, LocalTarget) else "address")


def origin_of(spec: JobSpec, plans: Sequence[Plan] = (), *, key: str | None = None, batch: str | None = None) -> Origin:
    """Returns the origin of a submission of this process, with the commit of its working directory.

    Args:
        spec: The job before it is prepared: its working_dir and its modules may be local paths.
        plans: Its packages.
        key: See Origin.
        batch: See Origin.
    """
    working_dir = None if spec.working_dir is None else _absolute(spec.working_dir)
    is_local = working_dir is None or is_local_path(working_dir)
    commit = commit_of(Path(working_dir or ".")) if is_local else None
    modules = tuple(map(_absolute, spec.modules))
    package_bytes = sum(plan.total_bytes for plan in plans) if plans else None
    return Origin(
        key=key, batch=batch, working_dir=working_dir, modules=modules, commit=commit, package_bytes=package_bytes
    )


def _absolute(path: str) -> str:
    """Returns the absolute path, so that `rerun` works in any directory; a URI as it is."""
    return str(Path(path).absolute()) if is_local_path(path) else path


class Recorder:
    """One ledger, for the jobs of one place."""

    def __init__(self, ledger: Ledger, place: Place) -> None:
        self.ledger = ledger
        self.place = place

    def find_job(self, submission_id: str, spec: JobSpec | None = None) -> JobInfo | None:
        """Finds a job that the server accepted: how it ended, or its last known status.

        None if the ledger does not have it, or has other work than `spec` under this id.
        """
        try:
            entry = self.ledger.get(submission_id, self.place.identity)
        except LedgerFault as error:
            self.ledger.notify(error.message)
            return None
        if entry is None or entry.status in (SUBMITTING, REFUSED, DELETED):
            return None
        if spec is not None and entry.digest != spec.digest:
            return None
        return JobInfo(
            submission_id, entry.status, error_type=entry.error_type, driver_exit_code=entry.driver_exit_code
        )

    def record_submission(self, submission_id: str, spec: JobSpec, origin: Origin) -> None:
        """Records a job that is being sent."""
        self.ledger.record_submission(submission_id, spec, self.place, origin)

    def record_refusal(self, submission_id: str, error: Refused) -> None:
        """Records a job that was refused. In a conflict the id belongs to another job, which was not refused."""
        if not isinstance(error, Conflict):
            self.record_status(submission_id, REFUSED)

    def record_jobs(self, jobs: Iterable[JobInfo]) -> None:
        """Records the statuses of jobs as the server has them."""
        statuses = {job.submission_id: (job.status, job.driver_exit_code, job.error_type) for job in jobs}
        if statuses:
            self.ledger.record_statuses(self.place.identity, statuses)

    def record_status(self, submission_id: str, status: str) -> None:
        self.ledger.record_status(submission_id, self.place.identity, status)

    def record_tail(self, submission_id: str, buffer: TailBuffer) -> None:
        """Records the end of a log that was followed."""
        if buffer.total:
            self.ledger.record_tail(submission_id, self.place.identity, buffer.tail())

    @contextlib.contextmanager
    def recording_tail(self, submission_id: str, write: Callable[[bytes], None]) -> Iterator[Callable[[bytes], None]]:
        """Gives a `write` that also keeps the end of the log. When the context ends, also by an error, that end is
        recorded."""
        buffer = TailBuffer()

        def write_and_feed(chunk: bytes) -> None:
            buffer.feed(chunk)
            write(chunk)

        try:
            yield write_and_feed
        finally:
            self.record_tail(submission_id, buffer)
