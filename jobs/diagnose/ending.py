"""Why a job failed, in one line: as `why` explains it, from the job's record and the end of its log only."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from ..activity import activity
from ..dashboard.log_end import read_log_end
from ..deadline import Deadline, bounded
from ..errors import JobsError
from .evidence import Evidence
from .finding import CAUSE
from .why import explain

if TYPE_CHECKING:
    from ..dashboard.client import RayJobsApi
    from ..spec.job_info import JobInfo

# How long the end of the log may take.
SECONDS = 10.0
# Ray's own line in each log, before the program's first.
OWN_LINE = "Running entrypoint for job "
# The longest reason, in characters.
REASON_LIMIT = 300


async def end_of_failed_job(client: RayJobsApi, job: JobInfo | None) -> str:
    """Reads the end of the log of a job that failed; empty for any other job, or if it cannot be read in time."""
    if job is None or job.status != "FAILED" or job.is_driver:
        return ""
    waiting = activity(f"Reading the end of the log of job {job.submission_id}", Deadline(SECONDS))
    with waiting, suppress(JobsError, asyncio.TimeoutError):
        return (await bounded(read_log_end(client, job), SECONDS)).decode(errors="replace")
    return ""


def failure_reason(job: JobInfo | None, log_end: str = "") -> str:
    """Returns why a job failed; one line, empty if neither its record nor the end of its log has a text. Pure."""
    if job is None or not (job.message or job.error_type or log_end):
        return ""
    job = job.shown()
    findings = explain(Evidence(job.submission_id, job=job, ray_reached=True, log_end=log_end))
    text = next((finding.text for finding in findings if finding.kind == CAUSE), job.message or job.error_type or "")
    line = next(iter(text.strip().splitlines()), "")
    if OWN_LINE in line:  # The program printed nothing.
        return ""
    return f"{line[:REASON_LIMIT]}..." if len(line) > REASON_LIMIT else line
