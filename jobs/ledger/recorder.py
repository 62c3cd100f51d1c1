"""What a session writes into the ledger. Nothing here ever fails a job."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..errors import Conflict, JobLost, LedgerFault, Refused
from ..spec.job_info import LOST, JobInfo, lost
from ..spec.job_spec import JobSpec
from ..target.resolve import ClusterTarget, LocalTarget, Target
from .git import commit_of
from .store import DELETED, REFUSED, SUBMITTING, Ledger, Origin, Place, TailBuffer


def place_of(target: Target, identity: str) -> Place:
    if isinstance(target, ClusterTarget):
        cluster = target.cluster
        return Place(identity, "stack", target.contract.stack, cluster.name, cluster.namespace)
    return Place(identity, "local" if isinstance(target, LocalTarget) else "address")


def origin_of(
    working_dir: str | None,
    *,
    key: str | None = None,
    attempt_of: str | None = None,
    attempt: int = 0,
    batch: str | None = None,
) -> Origin:
    """Where a submission of this process comes from; the commit is that of the working directory."""
    is_local = working_dir is None or "://" not in working_dir
    if working_dir is not None and is_local:
        working_dir = str(Path(working_dir).absolute())  # `rerun` finds it from anywhere
    commit = commit_of(Path(working_dir or ".")) if is_local else None
    return Origin(key, attempt_of, attempt, batch, working_dir, commit)


class Recorder:
    """One ledger and one place."""

    def __init__(self, ledger: Ledger, place: Place) -> None:
        self.ledger = ledger
        self.place = place

    def known(self, submission_id: str, spec: JobSpec | None = None) -> JobInfo | None:
        """What the ledger has of a job that the server does not know: how it ended, or the last status that was seen.

        None where it has nothing, or other work than `spec` under this id.
        """
        try:
            entry = self.ledger.get(submission_id, self.place.identity)
        except LedgerFault as error:
            self.ledger.warn(error.what)
            return None
        if entry is None or entry.status in (SUBMITTING, REFUSED, DELETED):
            return None
        if spec is not None and entry.digest != spec.digest:
            return None
        return JobInfo(
            submission_id, entry.status, error_type=entry.error_type, driver_exit_code=entry.driver_exit_code
        )

    def forgotten(self, submission_id: str, spec: JobSpec) -> JobInfo | None:
        """For an id that the server does not know: how this work ended, if that was seen. Raises JobLost if it was
        accepted and its end was not seen; None: it was never accepted."""
        known = self.known(submission_id, spec)
        if known is None or known.ended:
            return known
        self.ledger.record_status(submission_id, self.place.identity, LOST)
        raise _refused_as_lost(submission_id)

    def submitting(self, submission_id: str, spec: JobSpec, origin: Origin) -> None:
        self.ledger.record_submission(submission_id, spec, self.place, origin)

    def refused(self, submission_id: str, error: Refused) -> None:
        # Under a conflict the id belongs to the other job.
        if not isinstance(error, Conflict):
            self.ledger.record_status(submission_id, self.place.identity, REFUSED)

    def seen(self, jobs: Iterable[JobInfo]) -> None:
        found = {job.submission_id: (job.status, job.driver_exit_code, job.error_type) for job in jobs}
        if found:
            self.ledger.record_statuses(self.place.identity, found)

    def status(self, submission_id: str, status: str) -> None:
        self.ledger.record_status(submission_id, self.place.identity, status)

    def tail(self, submission_id: str, buffer: TailBuffer) -> None:
        if buffer.total:
            self.ledger.record_tail(submission_id, self.place.identity, buffer.tail())


def _refused_as_lost(submission_id: str) -> JobLost:
    known = lost(submission_id)
    return JobLost(f"{known.what} It is not submitted again under the same id.", known.remedy)
