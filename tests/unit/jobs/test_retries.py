"""Which ends of a job are retried."""

from __future__ import annotations

import pytest

from jobs.retries import RetryPolicy, judge
from jobs.spec.job_info import JobInfo, Result

# The end of what Ray 2.60 says of a job that it accepts and cannot start.
REFUSED = """Failed to start supervisor actor a: 'env_vars must be of type Dict[str, str]'. Full traceback:
Traceback (most recent call last):
  File "/home/ray/ray/dashboard/modules/job/job_manager.py", line 598, in submit_job
    supervisor = self._supervisor_actor_cls.options(
TypeError: runtime_env['env_vars'] must be of type Dict[str, str]
"""
# An exception whose text has several lines.
REFUSED_PIP_WITH_UV = REFUSED.replace(
    "TypeError: runtime_env['env_vars'] must be of type Dict[str, str]",
    "ValueError: The 'pip' field, 'uv' field, and 'conda' field of runtime_env cannot be specified at the same time.\n"
    "specified pip field: ['a']\nspecified conda field: None\nspecified uv field: ['b']\n"
    "To use pip with conda, please only set the 'conda'field: see https://conda.io/projects",
)


def start_failure(message: str) -> Result:
    return Result(
        "a", "FAILED", JobInfo("a", "FAILED", error_type="JOB_SUPERVISOR_ACTOR_START_FAILURE", message=message)
    )


def result(status: str, error_type: str | None = None, exit_code: int | None = None) -> Result:
    return Result("a", status, JobInfo("a", status, error_type=error_type, driver_exit_code=exit_code))


@pytest.mark.parametrize(
    ("ended", "policy", "attempts", "again"),
    [
        (result("FAILED", "JOB_SUPERVISOR_ACTOR_DIED"), RetryPolicy(2), 1, True),
        (result("FAILED", "JOB_SUPERVISOR_ACTOR_DIED"), RetryPolicy(2), 2, True),
        (result("FAILED", "JOB_SUPERVISOR_ACTOR_DIED"), RetryPolicy(2), 3, False),
        (result("FAILED", "JOB_SUPERVISOR_ACTOR_DIED"), RetryPolicy(), 1, False),
        (result("FAILED", "JOB_SUPERVISOR_ACTOR_START_TIMEOUT"), RetryPolicy(1), 1, True),
        (start_failure(REFUSED), RetryPolicy(2), 1, False),
        (start_failure(REFUSED_PIP_WITH_UV), RetryPolicy(2), 1, False),
        (start_failure(REFUSED.replace("TypeError", "ray.exceptions.ActorDiedError")), RetryPolicy(2), 1, True),
        (start_failure(""), RetryPolicy(2), 1, True),
        (result("FAILED", "RUNTIME_ENV_SETUP_FAILURE"), RetryPolicy(1), 1, False),
        (result("FAILED", "JOB_ENTRYPOINT_COMMAND_ERROR", 1), RetryPolicy(1), 1, False),
        (result("FAILED", "JOB_ENTRYPOINT_COMMAND_ERROR", 75), RetryPolicy(1, frozenset({75})), 1, True),
        (result("STOPPED"), RetryPolicy(5, frozenset({0, 1})), 1, False),
        (result("SUCCEEDED", None, 0), RetryPolicy(5, frozenset({0})), 1, False),
        (result("LOST"), RetryPolicy(1), 1, False),
        (result("LOST"), RetryPolicy(1, lost=True), 1, True),
    ],
)
def test_only_safe_reasons_are_retried(ended: Result, policy: RetryPolicy, attempts: int, again: bool) -> None:
    verdict = judge(policy, ended, attempts)
    assert verdict.again == again
    assert verdict.why
