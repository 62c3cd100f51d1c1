"""A job's record on the server: created exactly once, and removed as a whole."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..activity import activity
from ..deadline import Backoff, Deadline
from ..errors import Conflict, DeadlinePassed, JobsError, Refused, ServerFault, Unreachable, command
from ..spec.job_info import JobInfo
from ..spec.job_spec import JobSpec, difference
from .client import CALL_SECONDS, SUBMIT_SECONDS, RayJobsApi
from .http import MAX_SERVER_FAULTS

NO_AGENT = ("No available agent", "Failed to get head node agent")
ALREADY_EXISTS = "already exists"
# How long after the end of a job Ray may still leave a ghost of its deleted record.
GHOST_SECONDS = 3.0


@dataclass(frozen=True)
class Submission:
    """`attached`: the job existed before this call, by an earlier attempt or another process."""

    submission_id: str
    attached: bool
    job: JobInfo | None = None


async def submit_once(
    client: RayJobsApi,
    spec: JobSpec,
    submission_id: str,
    *,
    deadline: Deadline | None = None,
    seconds: float = 30.0,
    notify: Callable[[str], None] = lambda _text: None,
    about: Mapping[str, str] | None = None,
) -> Submission:
    """Creates the job exactly once, also if requests or answers are lost.

    After every answer that is not clear, the server is asked whether the job exists. If it does, with the same digest,
    this call attaches to it; if it does not, the request is repeated. Two requests that both arrive cannot make two
    jobs, because the server accepts an id only once.

    Args:
        client: The server.
        spec: The job; its working_dir is a URI.
        submission_id: Its id.
        deadline: When the job must be accepted; after 120 seconds by default.
        seconds: Deadline of one request.
        notify: Called with messages for a person.
        about: See `JobSpec.wire`.

    Raises:
        Conflict: The id belongs to a job with other content.
        Refused, NotAllowed, ServerFault: The server does not accept the job.
        Unreachable: It is not clear whether the job was accepted; the remedy finds out.
        DeadlinePassed: Ray had no agent in time; the job was not submitted.
    """
    deadline = deadline or Deadline(SUBMIT_SECONDS)
    backoff, server_faults, waiting_for_agent = Backoff(deadline), 0, False
    with activity(f"Submitting job {submission_id}", deadline) as submitting:
        while True:
            error = await client.post_job(spec, submission_id, max(1.0, min(seconds, deadline.left)), about)
            if error is None:
                return Submission(submission_id, attached=False)
            try:
                job = await client.find_job(submission_id, deadline)
            except Unreachable as unreachable:
                if not client.http.reached:
                    raise  # Nothing was ever sent.
                raise _unclear(submission_id, unreachable) from unreachable
            if job is not None:
                return attach(spec, job)
            if isinstance(error, ServerFault):
                if any(text in error.body for text in NO_AGENT):
                    if not waiting_for_agent:
                        notify("Ray has no agent yet that could start the job; waiting for one.")
                    waiting_for_agent = True
                elif ALREADY_EXISTS in error.body and await remove_ghost_record(client, submission_id, deadline):
                    pass  # The id was held by a ghost only.
                elif error.status == 500:
                    server_faults += 1
                    if server_faults >= MAX_SERVER_FAULTS:
                        raise error
            submitting.detail = "Ray has no agent yet that could start it" if waiting_for_agent else error.message
            await backoff.pause(_no_agent(deadline) if waiting_for_agent else _unclear(submission_id, error))


def attach(spec: JobSpec, job: JobInfo) -> Submission:
    """Attaches to the job that has this id, if it does the same work. Raises Conflict with the difference otherwise."""
    if job.digest == spec.digest:
        return Submission(job.submission_id, attached=True, job=job)
    raise Conflict(
        f"A job with the id {job.submission_id} exists and does something else:\n  {difference(spec, job)}",
        "Use another --submission-id or --key, or delete the old job after it has ended: "
        f"{command(f'delete {job.submission_id}')}.",
    )


async def delete_ended_job(client: RayJobsApi, job: JobInfo) -> None:
    """Deletes the record of a job, and the ghost that Ray may leave of it. Raises Refused if it has not ended."""
    submission_id = job.submission_id
    if not job.ended:
        raise Refused(
            f"Job {submission_id} is {job.status}: only a job that has ended can be deleted.",
            f"Stop it first: {command(f'stop {submission_id}')}.",
        )
    await client.delete_job(submission_id, Deadline(CALL_SECONDS))
    ended_recently = abs(time.time() - (job.end_time or 0) / 1000) < 10 * GHOST_SECONDS
    deadline = Deadline(GHOST_SECONDS if ended_recently else 0.0)
    with contextlib.suppress(JobsError):  # The record is deleted; the next submission removes a ghost too.
        while not deadline.passed and not await remove_ghost_record(client, submission_id, deadline):
            await asyncio.sleep(0.5)


async def remove_ghost_record(client: RayJobsApi, submission_id: str, deadline: Deadline) -> bool:
    """Removes the ghost that holds this id; False if there is none."""
    if not await client.has_ghost(submission_id, deadline):
        return False
    await client.delete_job(submission_id, deadline)
    return True


def _no_agent(deadline: Deadline) -> DeadlinePassed:
    return DeadlinePassed(
        f"Waited {deadline.seconds:.0f} s for Ray's job agent on the head; the job was not submitted.",
        f"{command('check')} shows whether the head is healthy.",
    )


def _unclear(submission_id: str, error: JobsError) -> Unreachable:
    return Unreachable(
        f"It is not clear whether job {submission_id} was submitted. The last error: {error.message}",
        f"The same command with --submission-id {submission_id} finds out, and does not start it twice.",
    )
