"""The user's headers and Ray's token: each request carries both, and none takes the other's place."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from pathlib import Path

import pytest

from jobs.dashboard.http import HttpClient, token_headers
from jobs.deadline import Deadline
from jobs.errors import NotAllowed
from tests.support.command import Cli
from tests.support.proxy import Faults, Proxy, answer, header_of, server

VERSION = json.dumps({"version": "4", "ray_version": "2.60.0", "session_name": "s"})
JOB = {"submission_id": "j", "status": "SUCCEEDED", "type": "SUBMISSION", "entrypoint": "true"}
BASIC = "Basic dXNlcjpwYXNzd29yZA=="
BOTH = {"Authorization": "Bearer t", "X-Ray-Authorization": "Bearer t"}


@pytest.mark.parametrize(
    ("headers", "sent"),
    [
        ({}, BOTH),
        ({"X-Team": "search"}, BOTH),
        ({"Cookie": "_oauth2_proxy=abc"}, BOTH),
        ({"Authorization": BASIC}, {"X-Ray-Authorization": "Bearer t"}),
        ({"authorization": BASIC}, {"X-Ray-Authorization": "Bearer t"}),
        ({"AUTHORIZATION": "Bearer id-token-of-iap"}, {"X-Ray-Authorization": "Bearer t"}),
        ({"x-ray-authorization": "Bearer other"}, {"Authorization": "Bearer t"}),
        ({"authorization": BASIC, "x-ray-authorization": "Bearer other"}, {}),
    ],
)
def test_the_token_goes_where_the_user_has_set_nothing(headers: dict[str, str], sent: dict[str, str]) -> None:
    assert token_headers("t", headers) == sent


@pytest.mark.parametrize("name", ["Authorization", "authorization", "AUTHORIZATION"])
@pytest.mark.parametrize("source", ["--headers", "RAY_JOB_HEADERS"])
def test_a_header_of_the_user_stays_and_the_token_goes_in_rays_second_one(
    bare_cli: Cli, name: str, source: str
) -> None:
    (bare_cli.cwd / "token").write_text("the-token")
    headers = json.dumps({name: BASIC})
    words, environ = (["--headers", headers], {}) if source == "--headers" else ([], {"RAY_JOB_HEADERS": headers})
    with server(answer(200, json.dumps([JOB]))) as running:
        done = bare_cli("list", *words, "--token-file", "token", address=running.url, **environ)
    assert done.returncode == 0
    (head,) = running.heads
    assert header_of(head, "authorization") == [BASIC]
    assert header_of(head, "x-ray-authorization") == ["Bearer the-token"]


def test_every_request_of_every_endpoint_carries_both(tmp_path: Path) -> None:
    """Questions, uploads, both ways of reading a log, and the state API."""
    from jobs.dashboard.client import RayJobsApi
    from jobs.dashboard.logs import read_live_log, read_log
    from jobs.dashboard.state_api import query_state
    from jobs.errors import JobsError
    from jobs.spec.job_info import JobInfo
    from jobs.spec.job_spec import JobSpec

    job = JobInfo("j", "RUNNING", driver_node_id="n")

    async def token() -> str | None:
        return "the-token"

    async def ended() -> bool:
        return True

    async def ask(url: str) -> None:
        http = HttpClient(url, token=token, headers={"authorization": BASIC, "Cookie": "a=b", "user-agent": "mine"})
        api, deadline = RayJobsApi(http), Deadline(1.0)
        body = tmp_path / "package"
        body.write_bytes(b"zip")
        with body.open("rb") as file:
            questions = [
                api.version(deadline),
                api.find_job("j", deadline),
                api.list_jobs(deadline),
                api.post_job(JobSpec("true"), "j", 1.0),
                api.stop_job("j", deadline),
                api.delete_job("j", deadline),
                api.job_log_text("j", deadline),
                api.package_exists("gcs://p.zip", deadline),
                api.put_package("gcs://p.zip", file, 3, lambda _sent: None, 1.0),
                query_state(http, "nodes"),
                _read_all(read_log(api, job, 0)),
                _read_all(read_live_log(api, job, 0, ended)),
            ]
            for question in questions:
                with contextlib.suppress(JobsError):
                    await question
        await http.close()

    # A cookie of the server does not take the place of the user's.
    with server(answer(400, "no", "text/plain", headers={"Set-Cookie": "a=other; Path=/"})) as running:
        asyncio.run(ask(running.url))
    assert len(running.heads) == 12
    for head in running.heads:
        both = [header_of(head, name) for name in ("authorization", "x-ray-authorization", "cookie", "user-agent")]
        assert both == [[BASIC], ["Bearer the-token"], ["a=b"], ["mine"]], head


async def _read_all(pieces: object) -> None:
    async for _ in pieces:  # type: ignore[attr-defined]
        pass


def test_a_header_that_is_there_twice_is_refused(bare_cli: Cli) -> None:
    done = bare_cli("list", "--headers", json.dumps({"Authorization": BASIC, "authorization": "Bearer x"}))
    assert done.returncode == 2
    assert b"the header authorization is there twice" in done.stderr
    assert BASIC.encode() not in done.stderr


RAY_401 = answer(401, "Unauthorized: Missing authentication token", "text/plain")
RAY_403 = answer(403, "Forbidden: Invalid authentication token", "text/plain")
BASIC_401 = answer(401, "<html>401</html>", "text/html", headers={"WWW-Authenticate": 'Basic realm="ray"'})


@pytest.mark.parametrize(
    ("body", "headers", "token", "named"),
    [
        pytest.param(BASIC_401, {}, "t", "requires a login of the kind Basic.*--headers", id="the proxy's login"),
        pytest.param(BASIC_401, {"Authorization": BASIC}, "t", "does not accept the Authorization", id="a wrong login"),
        pytest.param(RAY_401, {"Authorization": BASIC}, "t", "pass X-Ray-Authorization on", id="a dropped token"),
        pytest.param(RAY_401, {"Authorization": BASIC}, None, "requires a token.*--token-file", id="no token"),
        pytest.param(RAY_401, {}, None, "requires a token.*--token-file", id="neither"),
        pytest.param(RAY_403, {"Authorization": BASIC}, "t", "let the proxy remove it", id="a login that reaches Ray"),
        pytest.param(RAY_403, {}, "t", "refuses this token", id="a wrong token"),
    ],
)
def test_a_refusal_says_whose_it_is(body: bytes, headers: dict[str, str], token: str | None, named: str) -> None:
    async def read_token() -> str | None:
        return token

    async def ask(url: str) -> None:
        http = HttpClient(url, token=read_token, headers=headers)
        await http.ask("GET", "/api/jobs/", deadline=Deadline(1.0), parse=lambda response: response)

    with server(body) as running, pytest.raises(NotAllowed, match=f"(?s){named}") as raised:
        asyncio.run(ask(running.url))
    assert "dXNlcjpwYXNzd29yZA" not in str(raised.value)


# What the stock client would send: its headers are these, and it adds no token beside an Authorization of the user.
PRINT = "import json, os; print(json.dumps([os.environ['RAY_JOB_HEADERS'], os.environ['RAY_AUTH_TOKEN_PATH']]))"


def test_forward_gives_the_headers_to_the_stock_client(bare_cli: Cli) -> None:
    (bare_cli.cwd / "token").write_text("the-token")
    words = ("forward", "--token-file", "token", "--headers", json.dumps({"authorization": BASIC}))
    with server(answer(200, VERSION)) as running:
        done = bare_cli(*words, "--", sys.executable, "-c", PRINT, address=running.url)
    headers = json.loads(json.loads(done.stdout)[0])
    assert headers == {"authorization": BASIC, "X-Ray-Authorization": "Bearer the-token"}


def test_forward_prints_no_header_but_the_file_that_has_it(bare_cli: Cli) -> None:
    import signal
    import subprocess

    with server(answer(200, VERSION)) as running:
        process = bare_cli.start("forward", "--headers", json.dumps({"X-Key": "hunter2hunter2"}), address=running.url)
        assert process.stdout is not None
        lines = [process.stdout.readline().decode() for _ in range(4)]
        echo = subprocess.run(
            ["sh", "-c", lines[3] + 'printf %s "$RAY_JOB_HEADERS"'], capture_output=True, check=True, env=os.environ
        )
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert json.loads(echo.stdout) == {"X-Key": "hunter2hunter2"}
    assert "hunter2" not in "".join(lines) + (out + err).decode()


def test_an_agent_that_refuses_the_token_is_replaced_by_the_dashboard() -> None:
    """With a login in --headers only, there is no token for the agent, which is not behind the proxy."""
    from jobs.dashboard.client import RayJobsApi
    from jobs.dashboard.logs import LogFollower
    from jobs.dashboard.waiting import JobWatcher

    record = json.dumps({**JOB, "driver_node_id": "n", "driver_agent_http_address": "http://127.0.0.1:1"})

    async def read(dashboard: str, agent: str) -> bytes:
        async def route(_address: str) -> HttpClient | None:
            return HttpClient(agent)

        api = RayJobsApi(HttpClient(dashboard, headers={"Authorization": "Bearer t"}), agent_route=route)
        return b"".join([piece async for piece in LogFollower(JobWatcher(api), "j").chunks()])

    with Proxy("127.0.0.1", 9) as dashboard, server(RAY_401) as agent:
        log = answer(200, "the log", "text/plain")
        dashboard.faults = Faults(instead=lambda line: log if "/logs/" in line else answer(200, record))
        assert asyncio.run(read(dashboard.url, agent.url)) == b"the log"
