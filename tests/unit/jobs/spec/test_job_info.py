"""The server's record of a job: its types, and what people and JSON get of it."""

from __future__ import annotations

import json
import traceback
from typing import Any

import pytest

from jobs.errors import DeadlinePassed, JobFailed
from jobs.spec.job_info import JobInfo, Result
from jobs.spec.job_spec import JobSpec, difference
from jobs.spec.time_limits import TimeLimits

SECRET = "hunter2hunter2"
URL = f"https://user:{SECRET}@pypi.example.com/simple"
MESSAGE = f"Failed: pip install --index-url {URL}\n\x1b]52;c;eA==\x07::error ::x"


def failed() -> Result:
    job = JobInfo(
        "j",
        "FAILED",
        f"python t.py --password {SECRET}",
        MESSAGE,
        metadata={"HF_TOKEN": SECRET},
        runtime_env={"env_vars": {"A": SECRET}, "pip": [f"--index-url {URL}"]},
    )
    return Result("j", "FAILED", job)


def test_no_text_that_is_made_of_a_result_has_a_secret_or_a_control_character() -> None:
    result = failed()
    with pytest.raises(JobFailed) as caught:
        result.check()
    shown = result.info.shown() if result.info else None
    texts = [
        str(caught.value),
        "".join(traceback.format_exception(caught.value)),
        result.message,
        repr(result),
        str(shown),
        json.dumps(result.as_json()),
        repr([getattr(shown, name) for name in JobInfo._fields]),
    ]
    for text in texts:
        assert SECRET not in text
        assert not {"\x1b", "\x07"} & set(text)
    assert "pypi.example.com" in result.message


def test_the_text_of_a_passed_limit_has_no_secret() -> None:
    limits = TimeLimits(queue=0.0)
    with pytest.raises(DeadlinePassed) as caught:
        limits.check("j", JobInfo("j", "PENDING", message=MESSAGE))
    assert "pypi.example.com" in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("variables", [["TOKEN=hunter2hunter2"], "hunter2hunter2", 5])
def test_variables_that_are_no_mapping_are_not_shown_either(variables: Any) -> None:
    """Ray keeps the record of a job that it could not start because of them."""
    job = JobInfo("j", "FAILED", runtime_env={"env_vars": variables})
    assert job.as_json()["runtime_env"] == {"env_vars": "(not shown)"}
    assert SECRET not in difference(JobSpec("true"), job)


@pytest.mark.parametrize("text", ["[]", "{", "5", "[" * 100_000, '{"resources": [1]}', '{"num_cpus": "many"}'])
def test_metadata_that_another_client_wrote_under_our_key_is_no_error(text: str) -> None:
    from jobs.diagnose.resources import demand_of

    job = JobInfo("j", "PENDING", metadata={"rayjobs.entrypoint_resources": text})
    assert demand_of(job) == ({}, {})
    assert difference(JobSpec("true"), job)
