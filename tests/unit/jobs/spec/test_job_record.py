"""Records of jobs: what Ray's JSON becomes, and which JSON is no job."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jobs.spec.job_record import read_job, read_jobs

GOOD: dict[str, Any] = {"submission_id": "j", "status": "FAILED", "entrypoint": "true"}


def body(record: Any) -> bytes:
    return json.dumps(record).encode()


@pytest.mark.parametrize(
    ("record", "named"),
    [
        pytest.param([], "array", id="a list"),
        pytest.param("x", "str", id="a text"),
        pytest.param({"submission_id": "j"}, "status", id="no status"),
        pytest.param(GOOD | {"status": ""}, "status", id="an empty status"),
        pytest.param(GOOD | {"status": 5}, "status", id="status"),
        pytest.param(GOOD | {"submission_id": {}}, "submission_id", id="id"),
        pytest.param(GOOD | {"entrypoint": ["x"]}, "entrypoint", id="entrypoint"),
        pytest.param(GOOD | {"message": 1}, "message", id="message"),
        pytest.param(GOOD | {"error_type": []}, "error_type", id="error type"),
        pytest.param(GOOD | {"start_time": "now"}, "start_time", id="start as text"),
        pytest.param(GOOD | {"start_time": 10**30}, "start_time", id="start in 10^27 years"),
        pytest.param(GOOD | {"end_time": 1.5}, "end_time", id="end"),
        pytest.param(GOOD | {"metadata": ["a"]}, "metadata", id="metadata"),
        pytest.param(GOOD | {"metadata": {"a": 1}}, "metadata", id="a value of metadata"),
        pytest.param(GOOD | {"runtime_env": "x"}, "runtime_env", id="runtime_env"),
        pytest.param(GOOD | {"driver_exit_code": True}, "driver_exit_code", id="exit code"),
        pytest.param(GOOD | {"driver_agent_http_address": 5}, "driver_agent_http_address", id="agent"),
    ],
)
def test_a_record_of_another_type_is_refused_by_the_name_of_its_field(record: Any, named: str) -> None:
    with pytest.raises(TypeError, match=named):
        read_job(body(record))


def test_a_wrong_record_of_a_list_is_named_by_its_number() -> None:
    with pytest.raises(TypeError, match=r"\$\[1\]\.status"):
        read_jobs(body([GOOD, GOOD | {"status": None}]))


@pytest.mark.parametrize("text", [b"", b"[", b'[{"status": NaN}]', b'[{"new":' + b"[" * 100_000, b"\xff"])
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises((ValueError, RecursionError)):
        read_jobs(text)


def test_a_runtime_env_of_many_levels_is_refused() -> None:
    nested: Any = "x"
    for _ in range(80):
        nested = {"a": nested}
    with pytest.raises(ValueError, match="levels"):
        read_job(body(GOOD | {"runtime_env": nested}))


def test_half_of_a_surrogate_pair_is_replaced_and_the_rest_of_the_list_is_read() -> None:
    cut = GOOD | {"message": "cut \ud83d", "metadata": {"name": "\udc00é"}}
    first, second = read_jobs(body([cut, GOOD]))
    assert (first.message, first.metadata) == ("cut ?", {"name": "?é"})
    assert second.submission_id == "j"


def test_what_a_record_lacks_is_empty_and_what_it_has_beside_is_ignored() -> None:
    job = read_job(body({"status": "RUNNING", "job_id": "02000000", "runtime_env": None, "new": {"field": [1]}}))
    assert (job.submission_id, job.entrypoint, job.message, job.type) == ("02000000", "", "", "SUBMISSION")
    assert (job.metadata, job.runtime_env, job.driver_pid) == ({}, {}, None)


@pytest.mark.parametrize("address", ["http://[x", "http://h:99999999", "file:///etc/passwd", "http://a b:1", ""])
def test_an_address_that_is_no_agents_is_no_address(address: str) -> None:
    assert read_job(body(GOOD | {"driver_agent_http_address": address})).driver_agent_http_address is None


@pytest.mark.parametrize("address", ["http://10.0.0.1:52365", "http://[::1]:52365", "https://node-1.ray.svc:52365"])
def test_an_agents_address_is_kept(address: str) -> None:
    assert read_job(body(GOOD | {"driver_agent_http_address": address})).driver_agent_http_address == address
