"""What the client makes of answers that are not Ray's, or not what was hoped for. No Ray is needed."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.jobs.conftest import Cli
from tests.support.proxy import Faults, Proxy, answer

VERSION = json.dumps({"version": "4", "ray_version": "2.60.0", "session_name": "s"})
JOB = {"submission_id": "j", "status": "SUCCEEDED", "type": "SUBMISSION", "entrypoint": "true"}


@contextmanager
def server(body: bytes) -> Iterator[Proxy]:
    """A server that gives the same answer to everything."""
    with Proxy("127.0.0.1", 9) as running:
        running.faults = Faults(instead=lambda _line: body)
        yield running


@pytest.mark.parametrize(
    ("body", "named"),
    [
        pytest.param(answer(401, "Unauthorized: no token", "text/plain"), b"RAY_AUTH_TOKEN", id="401"),
        pytest.param(answer(403, "Forbidden", "text/plain"), b"refuses this token", id="403"),
        pytest.param(answer(404, "404: Not Found", "text/plain"), b"no Ray Jobs API", id="404"),
        pytest.param(answer(500, "Traceback:\n x\nKeyError: 'boom'", "text/plain"), b"KeyError: 'boom'", id="500"),
        pytest.param(answer(200, "<html>login</html>", "text/html"), b"text/html, not with JSON", id="HTML"),
        pytest.param(answer(200, '[{"status": "RUN'), b"cut off?", id="cut off JSON"),
        pytest.param(answer(200, '{"not": "a list"}'), b"list of jobs", id="another JSON"),
        pytest.param(answer(200, '[{"no": "status"}]'), b"no job", id="no job"),
        pytest.param(answer(302, "", "text/html"), b"HTTP 302", id="redirect"),
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


def test_a_reader_that_goes_away_ends_the_command_quietly(bare_cli: Cli) -> None:
    jobs = [{**JOB, "submission_id": f"j{i}"} for i in range(20_000)]
    with server(answer(200, json.dumps(jobs))) as running:
        process = bare_cli.start("list", address=running.url)
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(60) == 141


@pytest.mark.parametrize(
    ("address", "named"),
    [
        ("ray://127.0.0.1:10001", b"another protocol"),
        ("http://", b"not an http"),
        ("http://127.0.0.1:99999", b"--address"),
        ("http://user:secret@127.0.0.1", b"plain URL"),
        ("http://ray.example.com", b"--allow-unauthenticated"),
        ("https://192.0.2.1:8265", b"no token"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_before_anything_is_sent(
    bare_cli: Cli, address: str, named: bytes
) -> None:
    done = bare_cli("list", address=address)
    assert done.returncode == 2
    assert named in done.stderr
    assert b"secret" not in done.stderr.replace(b"http://user:secret", b"")


def test_a_stray_ray_address_never_redirects_and_is_said(bare_cli: Cli) -> None:
    with server(answer(200, "[]")) as right, server(answer(200, "[]")) as wrong:
        for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
            done = bare_cli("list", address=right.url, **{name: wrong.url})
            assert done.returncode == 0
            assert f"{name} is set and is ignored".encode() in done.stderr
        assert (len(right.requests), len(wrong.requests)) == (2, 0)


def test_the_token_comes_from_where_it_was_said(bare_cli: Cli) -> None:
    (bare_cli.cwd / "token").write_text("from-a-file\n")
    missing = bare_cli("list", "--token-file", "nowhere")
    assert missing.returncode == 2
    assert b"nowhere" in missing.stderr
    empty = bare_cli("list", RAY_AUTH_TOKEN="bad token")
    assert empty.returncode == 2
    assert b"bad token" not in empty.stderr


def test_help_is_a_page_with_examples_for_every_command(bare_cli: Cli) -> None:
    from jobs.cli.main import COMMANDS

    for command in COMMANDS:
        done = bare_cli.raw(command, "--help")
        assert done.returncode == 0
        assert b"jobs " + command.encode() in done.stdout, command


def test_help_and_an_address_import_neither_ray_nor_kr8s_nor_pulumi(bare_cli: Cli) -> None:
    script = (
        "import sys; sys.argv[1:] = {words!r}\nfrom jobs.cli.main import main\ntry: main()\nexcept SystemExit: pass\n"
    )
    script += "heavy = {{'ray', 'kr8s', 'pulumi', 'rich', 'httpx'}} & {{name.split('.')[0] for name in sys.modules}}\n"
    script += "print(sorted(heavy), file=sys.stderr)"
    with server(answer(200, json.dumps(JOB))) as running:
        for words, expected in ((["--help"], "[]"), (["status", "j", "--address", running.url], "['httpx']")):
            done = subprocess.run(
                [sys.executable, "-c", script.format(words=words)],
                cwd=bare_cli.cwd, env=bare_cli.environ, capture_output=True, text=True, check=True, timeout=60,
            )  # fmt: skip
            assert done.stderr.strip().splitlines()[-1] == expected
