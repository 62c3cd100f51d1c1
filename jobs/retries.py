"""Decides whether a job that did not succeed is tried again. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import number_of
from .spec.job_info import LOST, Result, invalid_request

# Ray's `JobErrorType`s for an entrypoint that never ran, or whose supervisor died: another attempt may succeed.
# RUNTIME_ENV_SETUP_FAILURE and JOB_ENTRYPOINT_COMMAND_* are missing on purpose: the job itself causes them.
INFRASTRUCTURE = frozenset(
    {
        "JOB_SUPERVISOR_ACTOR_START_TIMEOUT",
        "JOB_SUPERVISOR_ACTOR_START_FAILURE",
        "JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE",
        "JOB_SUPERVISOR_ACTOR_UNKNOWN_FAILURE",
        "JOB_SUPERVISOR_ACTOR_DIED",
    }
)


@dataclass(frozen=True)
class RetryPolicy:
    """Which jobs are tried again.

    Args:
        retries: The largest number of further attempts.
        exit_codes: Exit codes of the driver after which another attempt is made too.
        lost: A lost job is tried again too. Not by default: nothing tells how far it had come.
    """

    retries: int = 0
    exit_codes: frozenset[int] = frozenset()
    lost: bool = False


@dataclass(frozen=True)
class Verdict:
    """Whether to try again, and why or why not."""

    again: bool
    why: str


def judge(policy: RetryPolicy, result: Result, attempts_made: int) -> Verdict:
    """Decides whether to try again after `attempts_made` attempts, the last one with `result`."""
    if result.status == "SUCCEEDED":
        return Verdict(False, "it succeeded")
    reason = _reason(policy, result)
    if reason is None:
        return Verdict(False, f"{result.error_type or result.status} is not a reason to try again")
    if attempts_made > policy.retries:
        return Verdict(False, f"{reason}, after {number_of(attempts_made, 'attempt')}")
    return Verdict(True, reason)


def _reason(policy: RetryPolicy, result: Result) -> str | None:
    if result.status == "STOPPED":
        return None  # A user stopped it.
    if result.status == LOST:
        return "the cluster lost it" if policy.lost else None
    if result.info is not None and invalid_request(result.info):
        return None  # The next attempt would be refused too.
    if result.error_type in INFRASTRUCTURE:
        return f"the cluster failed it ({result.error_type})"
    if result.driver_exit_code is not None and result.driver_exit_code in policy.exit_codes:
        return f"it exited with {result.driver_exit_code}"
    return None


def attempt_id(base: str, attempt: int) -> str:
    """Returns the submission id of an attempt: `base` for the first (0), then `<base>-r1`, `<base>-r2`, ..."""
    return base if attempt == 0 else f"{base}-r{attempt}"
