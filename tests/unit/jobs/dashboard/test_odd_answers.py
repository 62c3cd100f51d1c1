"""Answers that no Ray gives: too large, compressed, too deep, of other types. Each is one clear error."""

from __future__ import annotations

import asyncio
import gzip
import json
import tracemalloc
import zlib
from typing import Any

import pytest

from jobs.dashboard import client as dashboard
from jobs.dashboard import http as transport
from jobs.dashboard.client import RayJobsApi
from jobs.dashboard.http import HttpClient
from jobs.dashboard.logs import read_agent_log
from jobs.dashboard.state_api import query_state
from jobs.deadline import Deadline
from jobs.errors import JobsError, ServerFault
from tests.support.command import Cli
from tests.support.proxy import Faults, Proxy, answer, server

JOB = {"submission_id": "j", "status": "SUCCEEDED", "type": "SUBMISSION", "entrypoint": "true"}


def compressed(status: int, body: bytes, encoding: str = "gzip") -> bytes:
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Encoding: {encoding}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def bomb(mebibytes: int) -> bytes:
    compressor = zlib.compressobj(wbits=31)
    pieces = [compressor.compress(b" " * 1024**2) for _ in range(mebibytes)]
    return b"".join([compressor.compress(b"["), *pieces, compressor.compress(b"]"), compressor.flush()])


def test_a_compressed_answer_is_refused_before_it_grows() -> None:
    body = compressed(200, bomb(200))
    tracemalloc.start()
    try:
        with pytest.raises(ServerFault, match=r"compressed its answer \(gzip\)[\s\S]*the proxy in front of it"):
            ask(body, "list_jobs")
        assert tracemalloc.get_traced_memory()[1] < 20 * 1024**2
    finally:
        tracemalloc.stop()


def test_a_compressed_error_keeps_its_status(bare_cli: Cli) -> None:
    with server(compressed(401, gzip.compress(b"no token"))) as running:
        done = bare_cli("list", address=running.url)
    assert done.returncode == 6
    assert b"requires a token (HTTP 401)" in done.stderr


def ask(body: bytes, question: str) -> Any:
    async def main(url: str) -> Any:
        http = HttpClient(url)
        api, deadline = RayJobsApi(http), Deadline(0.05)
        try:
            if question == "log":
                return [piece async for piece in read_agent_log(http, "j", 0)]
            if question in ("nodes", "actors", "tasks"):
                return await query_state(http, question, deadline=deadline)
            return await getattr(api, question)(*(["j"] if question in ("find_job", "job_log_text") else []), deadline)
        finally:
            await http.close()

    with server(body) as running:
        return asyncio.run(main(running.url))


@pytest.mark.parametrize("question", ["version", "find_job", "list_jobs", "job_log_text", "autoscaler_error", "nodes"])
def test_an_answer_larger_than_its_kind_can_be_is_refused(question: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MOST_BYTES", 1024**2)
    monkeypatch.setattr(HttpClient.once, "__kwdefaults__", HttpClient.once.__kwdefaults__ | {"most": 1024**2})
    monkeypatch.setattr(dashboard, "LIST_BYTES", 1024**2)
    monkeypatch.setattr(dashboard, "LOG_TEXT_BYTES", 1024**2)
    monkeypatch.setattr("jobs.dashboard.state_api.STATE_BYTES", 1024**2)
    with pytest.raises(ServerFault, match="more than 1 MiB"):
        ask(answer(200, b"[" + b" " * 1024**2 + b"]"), question)


def test_a_compressed_log_is_no_log() -> None:
    with pytest.raises(ServerFault, match="compressed its answer"):
        ask(compressed(200, gzip.compress(b"x")), "log")


def test_an_error_of_any_size_is_cut(bare_cli: Cli) -> None:
    with server(answer(400, b"x" * 20 * 1024**2 + b"\nthe end", "text/plain")) as running:
        done = bare_cli("list", address=running.url)
    assert done.returncode == 2
    assert len(done.stderr) < 2000


DEEP = "[" * 50_000 + "]" * 50_000
NESTED = json.dumps(JOB | {"runtime_env": json.loads('{"a":' * 200 + "1" + "}" * 200)})


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(DEEP, id="too deep to be read"),
        pytest.param(f"[{NESTED}]", id="too deep to be walked through"),
        pytest.param(f'[{json.dumps(JOB)[:-1]}, "start_time": NaN}}]', id="NaN"),
        pytest.param(f'[{json.dumps(JOB)[:-1]}, "start_time": {"9" * 5000}}}]', id="a number of 5000 digits"),
        pytest.param("[5]", id="a number"),
        pytest.param("[null]", id="null"),
        pytest.param('["x"]', id="a text"),
        pytest.param("[[]]", id="a list"),
        *(
            pytest.param(json.dumps([JOB | {key: value}]), id=f"{key}={value!r}"[:40])
            for key, value in [
                ("status", 5),
                ("submission_id", 5),
                ("entrypoint", {"a": 1}),
                ("message", ["x"]),
                ("start_time", "x"),
                ("start_time", 1e300),
                ("end_time", []),
                ("metadata", "x"),
                ("metadata", {"a": {}}),
                ("runtime_env", []),
                ("error_type", {}),
                ("type", 1),
            ]
        ),
    ],
)
@pytest.mark.parametrize("question", ["list_jobs", "find_job"])
def test_an_odd_record_is_one_clear_error(question: str, body: str) -> None:
    record = body[1:-1] if body != DEEP else body
    with pytest.raises(ServerFault, match=r"no job|JSON that cannot be read"):
        ask(answer(200, body if question == "list_jobs" else record), question)


@pytest.mark.parametrize("command", [["list"], ["status", "j", "k"], ["why", "j"]])
def test_an_odd_record_is_no_traceback_of_a_command(bare_cli: Cli, command: list[str]) -> None:
    bodies = {"/api/jobs/": f"[{NESTED}]", "/api/version": json.dumps({"ray_version": "2.60.0"})}
    with Proxy("127.0.0.1", 9) as running:
        running.faults = Faults(instead=lambda line: answer(200, bodies.get(line.split()[1], DEEP)))
        done = bare_cli(*command, address=running.url)
    assert done.returncode == 6
    assert b"Traceback" not in done.stdout + done.stderr
    assert b"JSON that cannot be read" in done.stdout + done.stderr


def state(*objects: Any) -> bytes:
    return answer(200, json.dumps({"data": {"result": {"result": list(objects)}}}))


@pytest.mark.parametrize(
    "body",
    [
        answer(200, "[]"),
        answer(200, '{"data": []}'),
        answer(200, '{"data": {"result": 5}}'),
        state("x"),
        state({"state": 5}),
        state({"resources_total": {"CPU": "4"}}),
        state({"resources_total": [4]}),
        state({"labels": {"a": {}}}),
        state({"start_time_ms": "x"}),
        state({"required_resources": {"CPU": 1e300}}),
    ],
)
def test_objects_of_the_state_api_of_other_types_are_one_clear_error(body: bytes) -> None:
    with pytest.raises(JobsError, match="another form than Ray"):
        ask(body, "nodes")


def test_what_ray_answers_is_read() -> None:
    node = {"node_id": "n", "state": "ALIVE", "resources_total": {"CPU": 4.0, "node:__internal_head__": 1}}
    node |= {"labels": {"ray.io/node-id": "n"}, "start_time_ms": 1764211200000, "is_head_node": True, "end_time_ms": 0}
    assert ask(state(node, {"name": None, "required_resources": None}), "nodes")[0] == node
    deep = JOB | {"runtime_env": {"a": [{"b": [{"c": ["d"]}]}]}, "start_time": 1, "end_time": None, "metadata": None}
    assert ask(answer(200, json.dumps([deep])), "list_jobs")[0].runtime_env == deep["runtime_env"]


@pytest.mark.parametrize("question", ["version", "autoscaler_error", "job_log_text"])
@pytest.mark.parametrize("body", ["[]", "5", "null", '{"data": 5}', '{"ray_version": 5, "logs": 5}'])
def test_other_answers_of_other_types_are_errors_of_ours(question: str, body: str) -> None:
    with pytest.raises(ServerFault):
        ask(answer(200, body), question)
