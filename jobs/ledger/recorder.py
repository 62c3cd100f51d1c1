"""What a session writes into the ledger. Nothing here fails a job."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ..errors import Conflict, JobLost, LedgerFault, Refused
from ..spec.job_info import LOST, JobInfo, lost
from ..spec.job_spec import JobSpec
from ..target.resolve import ClusterTarget, LocalTarget, Target
from .git import commit_of
from .records import DELETED, REFUSED, SUBMITTING, Origin, Place, TailBuffer
from .store import Ledger


def place_of(target: Target, identity: str) -> Place:
    """Where the jobs of a connection go; `identity` is the connection's."""
    if isinstance(target, ClusterTarget):
        cluster = target.cluster
        return Place(identity, "stack", target.contract.stack, cluster.name, cluster.namespace)
    return Place(identity, "local" if isinstance(target, LocalTarget) else "address")


def origin_of(working_dir: str | None, *, key: str | None = None, batch: str | None = None) -> Origin:
    """Where a submission of this process comes from, with the commit of its working directory."""
    is_local = working_dir is None or "://" not in working_dir
    if working_dir is not None and is_local:
        working_dir = str(Path(working_dir).absolute())  # So that `rerun` works in any directory.
    commit = commit_of(Path(working_dir or ".")) if is_local else None
    return Origin(key=key, batch=batch, working_dir=working_dir, commit=commit)


class Recorder:
    """One ledger, for the jobs of one place."""

    def __init__(self, ledger: Ledger, place: Place) -> None:
        self.ledger = ledger
        self.place = place

    def find_job(self, submission_id: str, spec: JobSpec | None = None) -> JobInfo | None:
        """A job that the server accepted: how it ended, or its last known status.

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

    def find_ended(self, submission_id: str, spec: JobSpec) -> JobInfo | None:
        """How a job that the server does not know ended; None if the server never accepted it.

        Raises:
            JobLost: The server accepted it, and its end is not known.
        """
        job = self.find_job(submission_id, spec)
        if job is None or job.ended:
            return job
        self.record_status(submission_id, LOST)
        error = lost(submission_id)
        raise JobLost(f"{error.message} It is not submitted again under the same id.", error.remedy)

    def record_submission(self, submission_id: str, spec: JobSpec, origin: Origin) -> None:
        """A job that is being sent."""
        self.ledger.record_submission(submission_id, spec, self.place, origin)

    def record_refusal(self, submission_id: str, error: Refused) -> None:
        """A job that was refused. In a conflict the id belongs to another job, which was not refused."""
        if not isinstance(error, Conflict):
            self.record_status(submission_id, REFUSED)

    def record_jobs(self, jobs: Iterable[JobInfo]) -> None:
        """The statuses of jobs as the server has them."""
        statuses = {job.submission_id: (job.status, job.driver_exit_code, job.error_type) for job in jobs}
        if statuses:
            self.ledger.record_statuses(self.place.identity, statuses)

    def record_status(self, submission_id: str, status: str) -> None:
        self.ledger.record_status(submission_id, self.place.identity, status)

    def record_tail(self, submission_id: str, buffer: TailBuffer) -> None:
        """The end of a log that was followed."""
        if buffer.total:
            self.ledger.record_tail(submission_id, self.place.identity, buffer.tail())

    @contextlib.contextmanager
    def recording_tail(self, submission_id: str, write: Callable[[bytes], None]) -> Iterator[Callable[[bytes], None]]:
        """`write`, and at the end of the context, however it ends, a record of the end of what was written."""
        buffer = TailBuffer()

        def write_and_feed(chunk: bytes) -> None:
            buffer.feed(chunk)
            write(chunk)

        try:
            yield write_and_feed
        finally:
            self.record_tail(submission_id, buffer)
