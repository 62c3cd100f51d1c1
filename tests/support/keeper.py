"""Jobs of a cluster for a keeper's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobs.ledger.kept import KeptJobs
from jobs.ledger.records import Place
from jobs.spec.job_info import JobInfo

PLACE = Place("http://ray", "address")
# Milliseconds since the epoch, as Ray has them.
START = 1_700_000_000_000


def running(submission_id: str, **fields: Any) -> JobInfo:
    """Returns a job that runs, and what else is said of it."""
    return JobInfo(submission_id, "RUNNING", "python train.py", start_time=START)._replace(**fields)


def ids(folder: Path, **filters: Any) -> list[str]:
    """Returns the ids of the first page of kept jobs."""
    return [entry.submission_id for entry in KeptJobs(folder).jobs(**filters).entries]
