"""Submits a job exactly once. Single jobs and batches use the same code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .background import in_thread
from .dashboard.client import SUBMIT_SECONDS
from .dashboard.submission import Submission, attach, submit_once
from .dashboard.waiting import JobWatcher
from .deadline import Deadline
from .errors import JobLost, Refused
from .packages import PackagePlanner, PackageStore
from .spec.job_info import COMMIT_KEY, DIRTY, LOST, PACKAGE_BYTES_KEY, JobInfo
from .spec.job_spec import JobRequest, JobSpec

if TYPE_CHECKING:
    from pathlib import Path

    from .ledger.recorder import Recorder
    from .ledger.records import Origin
    from .upload.plan import Plan


@dataclass(frozen=True)
class PreparedJob:
    """A job that is ready to be sent.

    Attributes:
        submission_id: Its id.
        spec: Its spec, with the URI of its package.
        plans: The packages to upload, if the server lacks them.
        origin: Its origin, for the ledger.
        may_exist: An earlier command may have submitted it.
    """

    submission_id: str
    spec: JobSpec
    plans: tuple[Plan, ...]
    origin: Origin
    may_exist: bool = False

    @property
    def about(self) -> dict[str, str]:
        """What the server keeps of the origin, for those who do not have this machine's ledger."""
        commit, size = self.origin.commit, self.origin.package_bytes
        about = {} if commit is None else {COMMIT_KEY: commit.sha + (DIRTY if commit.dirty else "")}
        return about if size is None else {**about, PACKAGE_BYTES_KEY: str(size)}


async def prepare(request: JobRequest, *, use_cache: bool = True, ledger: str | Path | None = None) -> PreparedJob:
    """Chooses the id and reads the working directory and the modules; nothing is sent.

    Args:
        request: The job.
        use_cache: Files that have not changed since an earlier submission are not read again.
        ledger: See PackagePlanner.

    Raises:
        Refused: The request cannot be used, or the directory or a module cannot be packed.
    """
    submission_id = request.choose_id()
    spec, plans = await PackagePlanner(use_cache=use_cache, ledger=ledger).plan(request.spec)
    from .ledger.recorder import origin_of

    origin = await in_thread(lambda: origin_of(request.spec, plans, key=request.key))
    return PreparedJob(submission_id, spec, plans, origin, may_exist=request.may_exist)


class Submitter:
    """Submits prepared jobs to one server and records them.

    Args:
        watcher: Looks at the jobs of the server.
        recorder: Records the jobs in the ledger; None: they are not recorded.
        notify: Called with messages for a person.
        patience: Seconds without any answer until a look for a job that may be lost raises Unreachable.
        package_seconds: See PackageStore.
    """

    def __init__(
        self,
        watcher: JobWatcher,
        *,
        recorder: Recorder | None,
        notify: Callable[[str], None],
        patience: float,
        package_seconds: float = 0.0,
    ) -> None:
        self.watcher = watcher
        self.client = client = watcher.client
        self.patience = patience
        self.recorder = recorder
        self.notify = notify
        self.packages = PackageStore(client, notify=notify, valid_seconds=package_seconds)

    async def submit(self, job: PreparedJob, *, seconds: float = SUBMIT_SECONDS) -> Submission:
        """Records the job, uploads its package if the server lacks it, and submits it exactly once.

        Args:
            job: The job.
            seconds: Time for the server to accept the job; an upload before that has its own ten minutes.

        Returns:
            The submission. If the server forgot the job and the ledger knows how it ended, that is its record.

        Raises:
            JobLost: The ledger knows that the server accepted the job, and the server no longer knows it.
            Conflict, Refused, NotAllowed, Unreachable, DeadlinePassed: See `submit_once` and `PackageStore.provide`.
        """
        if job.may_exist:
            existing = await self.client.find_job(job.submission_id)
            recorded = self.recorder.find_job(job.submission_id, job.spec) if self.recorder else None
            if existing is None and recorded is not None:
                if recorded.ended:
                    return Submission(job.submission_id, attached=True, job=recorded)
                existing = await self._find_accepted(job.submission_id)
            if existing is not None:
                return self._accept(job, attach(job.spec, existing))
        if self.recorder is not None:
            self.recorder.record_submission(job.submission_id, job.spec, job.origin)
        try:
            plans = {plan.uri: plan for plan in job.plans}
            for uri in job.spec.package_uris:
                await self.packages.provide(uri, plans.get(uri))
            deadline = Deadline(seconds)
            submission = await submit_once(
                self.client, job.spec, job.submission_id, deadline=deadline, notify=self.notify, about=job.about
            )
        except Refused as error:
            if self.recorder is not None:
                self.recorder.record_refusal(job.submission_id, error)
            raise
        return self._accept(job, submission)

    async def _find_accepted(self, submission_id: str) -> JobInfo:
        """Looks for a job that the server accepted and did not find at once. Raises JobLost, Unreachable."""
        try:
            return await self.watcher.poller(known_to_exist=True).look(submission_id, self.patience)
        except JobLost as error:
            if self.recorder is not None:
                self.recorder.record_status(submission_id, LOST)
            raise JobLost(f"{error.message} It is not submitted again under the same id.", error.remedy) from None

    def _accept(self, job: PreparedJob, submission: Submission) -> Submission:
        if self.recorder is not None:
            if submission.attached:
                # Another machine may have submitted the job: from now on this ledger has it too.
                self.recorder.record_submission(job.submission_id, job.spec, job.origin)
            if submission.job is not None:
                self.recorder.record_jobs([submission.job])
            else:
                self.recorder.record_status(job.submission_id, "PENDING")
        return submission
