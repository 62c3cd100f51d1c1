"""A job of the ledger again: `rerun ID`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from .errors import Refused
from .ledger.store import Ledger, no_entry
from .packages import PackagePlanner
from .retries import attempt_id
from .spec import redact
from .spec.job_spec import JobSpec
from .submit import PreparedJob
from .upload.requirements import keys_with_files


def find_rerun(ledger: Ledger, submission_id: str, environ: Mapping[str, str] = os.environ) -> PreparedJob:
    """Returns the same work under the id of the next attempt, linked to the first attempt. Reads only the ledger; sends
    nothing.

    The spec names the packages by their URIs; `origin` has the paths that they were made of. Environment variables that
    the ledger withheld are taken from `environ`.

    Raises:
        Refused: The ledger does not have the job, a value that it withheld is missing, or Ray would refuse the job.
        LedgerFault
    """
    entry = ledger.get(submission_id)
    if entry is None:
        raise no_entry(ledger, submission_id)
    fields, missing = redact.restore(entry.spec, entry.withheld, environ)
    if missing:
        raise Refused(
            f"The ledger keeps no secrets, and {submission_id} had some: {', '.join(missing)}.",
            "Set the variables named after env_vars in this shell; for anything else, submit the job again.",
        )
    base = entry.origin.attempt_of or entry.submission_id
    attempt = 1 + max((each.origin.attempt for each in ledger.attempts(base)), default=0)
    origin = replace(entry.origin, key=None, attempt_of=base, attempt=attempt)
    known = JobSpec.__dataclass_fields__  # A newer version may have recorded more.
    spec = JobSpec(**{name: value for name, value in fields.items() if name in known})
    if keys := keys_with_files(spec.runtime_env):
        raise Refused(
            f"{submission_id} was recorded by an earlier version, without the content of the file that its runtime_env "
            f"names under {', '.join(keys)}.",
            "Submit the job again: the content of the file is recorded now.",
        )
    return PreparedJob(attempt_id(base, attempt), spec, (), origin, may_exist=True)


async def prepare_rerun(job: PreparedJob, *, use_cache: bool = True, ledger: str | Path | None = None) -> PreparedJob:
    """Adds the packages to upload to the rerun whose directory or module is on this machine and unchanged.

    Args:
        job: The rerun.
        use_cache: Files that have not changed since an earlier submission are not read again.
        ledger: See PackagePlanner.
    """
    planner = PackagePlanner(use_cache=use_cache, ledger=ledger)
    return replace(job, plans=await planner.plan_again(job.spec, job.origin.working_dir, job.origin.modules))
