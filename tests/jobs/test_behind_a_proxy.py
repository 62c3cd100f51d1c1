"""A real Ray with token authentication behind a proxy with a login of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.jobs.conftest import Head, new_id
from tests.support.command import Cli
from tests.support.proxy import Faults, Proxy, basic_proxy, header_of

LOGIN = "Basic dXNlcjpwYXNzd29yZA=="
HEADERS = json.dumps({"Authorization": LOGIN})
BOTH = ("authorization", "x-ray-authorization")


@pytest.fixture
def login_proxy(proxy: Proxy) -> Proxy:
    """The proxy of the head, as nginx with `auth_basic` and `proxy_set_header Authorization ""`."""
    proxy.faults = Faults(rewrite=basic_proxy(LOGIN))
    return proxy


def test_every_command_works_through_a_proxy_with_a_login(cli: Cli, head: Head, login_proxy: Proxy) -> None:
    """With an upload, a log that is followed, and the state API."""
    cli.address = login_proxy.url
    (cli.cwd / "hello.py").write_text("print('hello from a package')\n")
    job = new_id()
    logged_in = ("--headers", HEADERS)
    done = cli("submit", *logged_in, "--submission-id", job, "--working-dir", ".", "--", "python hello.py")
    assert (done.returncode, b"hello from a package" in done.stdout) == (0, True), done.stderr
    for command in (["status", job], ["list"], ["logs", job], ["wait", job], ["why", job], ["check"], ["stop", job]):
        done = cli(*command, RAY_JOB_HEADERS=HEADERS)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
    assert cli("delete", *logged_in, job).returncode == 0
    paths = {line.split("?")[0] for line in login_proxy.requests}
    assert {"POST /api/jobs/", "GET /api/v0/nodes"} <= paths
    assert any(path.startswith("PUT /api/packages/") for path in paths)
    for request in login_proxy.heads:
        assert [header_of(request, name) for name in BOTH] == [[LOGIN], [f"Bearer {head.token}"]]


def test_a_log_comes_through_the_proxy_where_the_agent_cannot_be_asked(
    cli: Cli, head: Head, login_proxy: Proxy, tmp_path: Path
) -> None:
    """The token is only in --headers, so that there is none for the agent."""
    job = new_id()
    cli("submit", "--submission-id", job, "--", "echo through the proxy")
    del cli.environ["RAY_AUTH_TOKEN_PATH"]
    headers = json.dumps({"Authorization": LOGIN, "x-ray-authorization": f"Bearer {head.token}"})
    for words in ((), ("--follow",)):
        done = cli("logs", *words, "--headers", headers, job, address=login_proxy.url)
        assert (done.returncode, b"through the proxy" in done.stdout) == (0, True), done.stderr
    direct = json.dumps({"Authorization": f"Bearer {head.token}"})
    done = cli("logs", "--headers", direct, job)
    assert (done.returncode, b"through the proxy" in done.stdout) == (0, True), done.stderr


def test_the_stock_client_works_in_forward_through_the_proxy(cli: Cli, login_proxy: Proxy) -> None:
    job = new_id()
    cli("submit", "--submission-id", job, "--", "true")
    ray = Path(sys.executable).with_name("ray")
    done = cli("forward", "--headers", HEADERS, "--", str(ray), "job", "list", address=login_proxy.url)
    assert (done.returncode, job.encode() in done.stdout) == (0, True), done.stderr


def test_a_login_that_is_missing_or_reaches_ray_is_named(cli: Cli, login_proxy: Proxy) -> None:
    cli.address = login_proxy.url
    missing = cli("list")
    assert missing.returncode == 6
    assert b"requires a login of the kind Basic" in missing.stderr
    login_proxy.faults = Faults(rewrite=basic_proxy(LOGIN, passes=BOTH))
    passed_on = cli("list", "--headers", HEADERS)
    assert passed_on.returncode == 6
    assert b"let the proxy remove it" in passed_on.stderr
    login_proxy.faults = Faults(rewrite=basic_proxy(LOGIN, passes=()))
    dropped = cli("list", "--headers", HEADERS)
    assert dropped.returncode == 6
    assert b"Let the proxy pass X-Ray-Authorization on" in dropped.stderr
