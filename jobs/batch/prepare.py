"""What a batch needs before its jobs can be sent: packages read once and uploaded once, specs and ids."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

from ..deadline import Deadline
from ..session import Request, Session, in_thread, prepare
from ..spec.job_spec import JobSpec
from ..upload.pack import Plan
from .jobs_file import Batch, named

# The server keeps a package that no job refers to for ten minutes after it was asked for it.
KEPT_SECONDS = 300.0


async def plan_packages(batch: Batch, *, use_cache: bool = True) -> tuple[Batch, dict[str, Plan]]:
    """The batch with package URIs for local working directories, each read once, and with its name and ids.

    The plans are by URI. Raises Refused.
    """
    from ..upload import pack as package

    planned: dict[tuple[str, tuple[str, ...] | str], Plan] = {}
    jobs = []
    for job in batch.jobs:
        working_dir = job.request.working_dir or job.request.runtime_env.get("working_dir")
        if job.request.runtime_env.get("py_modules"):
            await prepare(job.request)  # Refuses local ones.
        if isinstance(working_dir, str) and "://" not in working_dir:
            stated = job.request.runtime_env.get("excludes") or ()
            excludes = stated if isinstance(stated, str) else tuple(stated)  # text is refused by the plan
            if (working_dir, excludes) not in planned:
                work = partial(package.plan, working_dir, excludes=excludes, use_cache=use_cache)
                planned[working_dir, excludes] = await in_thread(work)
            job = replace(job, request=replace(job.request, working_dir=planned[working_dir, excludes].uri))
        jobs.append(job)
    return named(replace(batch, jobs=tuple(jobs))), {plan.uri: plan for plan in planned.values()}


def spec_of(request: Request) -> JobSpec:
    """The spec of a request whose working_dir is a URI."""
    fields = {name: getattr(request, name) for name in JobSpec.__dataclass_fields__}
    runtime_env = dict(request.runtime_env)
    if request.working_dir is not None:
        runtime_env["working_dir"] = request.working_dir
    return JobSpec(**{**fields, "runtime_env": runtime_env, "metadata": dict(request.metadata)})


class SharedUpload:
    """One upload for all jobs that share a package, looked at again before the server may have dropped it."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._sure = Deadline(0)

    async def ensure(self, session: Session, plan: Plan) -> None:
        async with self._lock:
            if self._sure.passed:
                await session.upload(plan)
                self._sure = Deadline(KEPT_SECONDS)
