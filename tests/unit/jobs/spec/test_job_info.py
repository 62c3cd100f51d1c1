"""The server's record of a job: its types, and what people and JSON get of it."""

from __future__ import annotations

import json
import traceback
from typing import Any

import pytest
from jobs.spec.limits import Limits

from jobs.errors import DeadlinePassed, JobFailed
from jobs.spec.job_info import JobInfo, Result
from jobs.spec.job_spec import JobSpec, difference

SECRET = "hunter2hunter2"
URL = f"https://user:{SECRET}@pypi.example.com/simple"
MESSAGE = f"Failed: pip install --index-url {URL}\n\x1b]52;c;eA==\x07::error ::x"
GOOD: dict[str, Any] = {"submission_id": "j", "status": "FAILED", "entrypoint": "true"}


@pytest.mark.parametrize(
    ("record", "named"),
    [
        pytest.param([], "a list", id="a list"),
        pytest.param("x", "a text", id="a text"),
        pytest.param({"submission_id": "j"}, "no status", id="no status"),
        pytest.param(GOOD | {"status": 5}, "status is a number", id="status"),
        pytest.param(GOOD | {"submission_id": {}}, "submission_id is an object", id="id"),
        pytest.param(GOOD | {"entrypoint": ["x"]}, "entrypoint is a list", id="entrypoint"),
        pytest.param(GOOD | {"message": 1}, "message is a number", id="message"),
        pytest.param(GOOD | {"error_type": []}, "error_type is a list", id="error type"),
        pytest.param(GOOD | {"start_time": "now"}, "start_time is a text", id="start as text"),
        pytest.param(GOOD | {"start_time": 10**30}, "start_time is not between", id="start in 10^27 years"),
        pytest.param(GOOD | {"end_time": 1.5}, "end_time is a number, not a whole number", id="end"),
        pytest.param(GOOD | {"metadata": ["a"]}, "metadata is a list", id="metadata"),
        pytest.param(GOOD | {"metadata": {"a": 1}}, "metadata is a number", id="a value of metadata"),
        pytest.param(GOOD | {"runtime_env": "x"}, "runtime_env is a text", id="runtime_env"),
        pytest.param(GOOD | {"driver_exit_code": True}, "driver_exit_code is true", id="exit code"),
        pytest.param(GOOD | {"driver_agent_http_address": 5}, "driver_agent_http_address is a number", id="agent"),
    ],
)
def test_a_record_of_another_type_is_refused_by_the_name_of_its_field(record: Any, named: str) -> None:
    with pytest.raises(TypeError, match=named):
        JobInfo.from_wire(record)


@pytest.mark.parametrize("address", ["http://[x", "http://h:99999999", "file:///etc/passwd", "http://a b:1", ""])
def test_an_address_that_is_no_agents_is_no_address(address: str) -> None:
    assert JobInfo.from_wire(GOOD | {"driver_agent_http_address": address}).driver_agent_http_address is None


@pytest.mark.parametrize("address", ["http://10.0.0.1:52365", "http://[::1]:52365", "https://node-1.ray.svc:52365"])
def test_an_agents_address_is_kept(address: str) -> None:
    assert JobInfo.from_wire(GOOD | {"driver_agent_http_address": address}).driver_agent_http_address == address


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
    limits = Limits(queue=0.0)
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
