"""A batch with the packages and ids of its jobs, before anything is sent."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from ..background import in_thread
from ..packages import PackagePlanner
from ..submit import PreparedJob
from .jobs_file import Batch, BatchJob, with_ids

if TYPE_CHECKING:
    from pathlib import Path

    from ..ledger.records import Origin
    from ..upload.plan import Plan


@dataclass(frozen=True)
class PreparedBatch:
    """A batch that can be run.

    Attributes:
        name: Its name.
        jobs: The jobs of the file or sweep, with ids and package URIs.
        submissions: The same jobs, ready to be sent.
    """

    name: str
    jobs: tuple[BatchJob, ...]
    submissions: tuple[PreparedJob, ...]

    @property
    def plans(self) -> dict[str, Plan]:
        """The packages to upload, by URI."""
        return {plan.uri: plan for job in self.submissions for plan in job.plans}


async def prepare_batch(batch: Batch, *, use_cache: bool = True, ledger: str | Path | None = None) -> PreparedBatch:
    """Reads every working directory and every module once; nothing is sent.

    Args:
        batch: The jobs.
        use_cache: Files that have not changed since an earlier submission are not read again.
        ledger: See PackagePlanner.

    Raises:
        Refused: A directory or a module cannot be packed, or two jobs are equal.
    """
    from ..ledger.recorder import origin_of

    planner = PackagePlanner(use_cache=use_cache, ledger=ledger)
    jobs, plans = [], []
    for job in batch.jobs:
        spec, packages = await planner.plan(job.request.spec)
        jobs.append(replace(job, request=replace(job.request, spec=spec)))
        plans.append(packages)
    named = with_ids(replace(batch, jobs=tuple(jobs)))
    name = str(named.name)
    origins: dict[tuple[str | None, tuple[str, ...]], Origin] = {}
    submissions = []
    for original, job, packages in zip(batch.jobs, named.jobs, plans, strict=True):
        spec = original.request.spec
        sources = (spec.working_dir, spec.modules)
        if sources not in origins:
            origins[sources] = await in_thread(partial(origin_of, spec, packages, batch=name))
        submissions.append(PreparedJob(job.submission_id, job.request.spec, packages, origins[sources]))
    return PreparedBatch(name, named.jobs, tuple(submissions))
