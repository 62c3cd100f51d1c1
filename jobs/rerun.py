"""The same work once more, from the ledger: `rerun ID`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import Refused
from .ledger.store import Entry, Ledger, Origin
from .retries import attempt_id
from .spec import redact
from .spec.job_spec import JobSpec


@dataclass(frozen=True)
class Rerun:
    """What `rerun` submits: the same work under the next attempt's id, linked to the first."""

    spec: JobSpec
    submission_id: str
    origin: Origin
    entry: Entry


def rerun_spec(ledger: Ledger, submission_id: str, environ: Mapping[str, str] = os.environ) -> Rerun:
    """The job `submission_id` once more. Withheld environment variables are taken from the environment.

    Raises Refused (not in the ledger, or a withheld value cannot be had) and LedgerFault. The package is named by
    its URI: where the server no longer has it, `entry.origin.working_dir` says what to pack again.
    """
    entry = ledger.get(submission_id)
    if entry is None:
        raise Refused(f"The ledger {ledger.path} has no job {submission_id!r}.", "`history` shows those that it has.")
    kept, missing = redact.restore(entry.spec, entry.withheld, environ)
    if missing:
        raise Refused(
            f"The ledger keeps no secrets, and {submission_id} had some: {', '.join(missing)}.",
            "Set the variables named after env_vars in this shell; for anything else submit the job anew.",
        )
    base = entry.origin.attempt_of or entry.submission_id
    attempt = 1 + max((each.origin.attempt for each in ledger.attempts(base)), default=0)
    origin = Origin(None, base, attempt, entry.origin.batch, entry.origin.working_dir, entry.origin.commit)
    return Rerun(_spec_of(kept), attempt_id(base, attempt), origin, entry)


def _spec_of(kept: dict[str, Any]) -> JobSpec:
    known = JobSpec.__dataclass_fields__
    return JobSpec(**{key: value for key, value in kept.items() if key in known})
