"""What the client makes of answers that are not Ray's, and of requests that are cancelled."""

from __future__ import annotations

import asyncio
import json

import pytest

from jobs.dashboard.http import HttpClient
from jobs.deadline import Deadline
from tests.support.command import Cli
from tests.support.proxy import Faults, Proxy, answer, server

VERSION = json.dumps({"version": "4", "ray_version": "2.60.0", "session_name": "s"})


JOB = {"submission_id": "j", "status": "SUCCEEDED", "type": "SUBMISSION", "entrypoint": "true"}


@pytest.mark.parametrize(
    ("body", "named"),
    [
        pytest.param(answer(401, "Unauthorized: no token", "text/plain"), b"RAY_AUTH_TOKEN", id="401"),
        pytest.param(answer(403, "Forbidden", "text/plain"), b"refuses this token", id="403"),
        pytest.param(answer(404, "404: Not Found", "text/plain"), b"no Ray Jobs API", id="404"),
        pytest.param(answer(500, "Traceback:\n x\nKeyError: 'boom'", "text/plain"), b"KeyError: 'boom'", id="500"),
        pytest.param(answer(200, "<html>login</html>", "text/html"), b"text/html, not with JSON", id="HTML"),
        pytest.param(answer(200, '[{"status": "RUN'), b"cut off?", id="cut off JSON"),
        pytest.param(answer(200, '{"not": "a list"}'), b"no job: Expected `array`", id="another JSON"),
        pytest.param(answer(200, '[{"no": "status"}]'), b"no job", id="no job"),
        pytest.param(answer(302, "", "text/html"), b"redirect (HTTP 302)", id="redirect"),
    ],
)
def test_each_wrong_answer_has_one_clear_message(bare_cli: Cli, body: bytes, named: bytes) -> None:
    with server(body) as running:
        done = bare_cli("list", address=running.url)
    assert (done.returncode, done.stdout) == (6, b"")
    assert named in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_502_page_of_a_proxy_is_named_after_some_patience() -> None:
    from jobs.dashboard.client import RayJobsApi
    from jobs.dashboard.http import HttpClient
    from jobs.deadline import Deadline
    from jobs.errors import ServerFault

    async def ask(url: str) -> None:
        await RayJobsApi(HttpClient(url)).list_jobs(Deadline(1.0))

    with server(answer(502, "<html>Bad Gateway</html>", "text/html")) as running:
        with pytest.raises(ServerFault, match="a proxy in between"):
            asyncio.run(ask(running.url))
        assert len(running.requests) > 1


def test_a_token_is_read_again_when_it_is_refused() -> None:
    """A rotated Secret: the first token is the old one."""
    from jobs.dashboard.http import HttpClient
    from jobs.deadline import Deadline

    tokens = iter(["old", "new"])

    async def token() -> str | None:
        return next(tokens)

    statuses = iter([answer(403, "no"), answer(200, VERSION)])

    async def ask(url: str) -> int:
        http = HttpClient(url, token=token)
        return await http.ask("GET", "/", deadline=Deadline(5), parse=lambda response: response.status_code)

    with Proxy("127.0.0.1", 9) as running:
        running.faults = Faults(instead=lambda _line: next(statuses))
        assert asyncio.run(ask(running.url)) == 200
    assert next(tokens, None) is None


def test_nobody_listening_is_unreachable_and_says_where(bare_cli: Cli) -> None:
    from jobs.dashboard.client import RayJobsApi
    from jobs.dashboard.http import HttpClient
    from jobs.deadline import Deadline
    from jobs.errors import Unreachable

    async def ask() -> None:
        await RayJobsApi(HttpClient("http://127.0.0.1:9")).list_jobs(Deadline(0.5))

    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9"):
        asyncio.run(ask())


def test_proxy_variables_of_the_environment_are_not_used(bare_cli: Cli) -> None:
    with server(answer(200, json.dumps([JOB]))) as running:
        done = bare_cli("list", address=running.url, HTTP_PROXY="http://127.0.0.1:9", http_proxy="http://127.0.0.1:9")
    assert done.returncode == 0
    assert b"SUCCEEDED" in done.stdout


def test_status_of_many_jobs_is_one_list_request(bare_cli: Cli) -> None:
    jobs = [{**JOB, "submission_id": f"j{i}"} for i in range(1000)]
    with server(answer(200, json.dumps(jobs))) as running:
        done = bare_cli("status", *(f"j{i}" for i in range(1000)), "--output", "json", address=running.url)
        assert [line for line in running.requests if line.startswith("GET")] == ["GET /api/jobs/"]
    assert len(json.loads(done.stdout)) == 1000


def test_a_cancellation_is_never_taken_for_a_broken_connection() -> None:
    """It comes at every moment of a request that fails; one that is lost would let the request be tried again."""

    async def cancelled_after(url: str, seconds: float) -> bool:
        http = HttpClient(url)
        asking = asyncio.ensure_future(http.ask("GET", "/", deadline=Deadline(1.0), parse=lambda response: response))
        await asyncio.sleep(seconds)
        asking.cancel()
        results = await asyncio.gather(asking, return_exceptions=True)
        await http.close()
        return isinstance(results[0], asyncio.CancelledError)

    async def at_every_moment(url: str) -> list[int]:
        return [i for i in range(300) if not await cancelled_after(url, i * 0.00005)]

    with Proxy("127.0.0.1", 9) as server:
        server.faults = Faults(drop_request=lambda _line: True)
        assert asyncio.run(at_every_moment(server.url)) == []
