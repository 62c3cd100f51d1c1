"""A redirect is never followed; the error names its target, and what to write."""

from __future__ import annotations

import asyncio
import json

import pytest

from jobs.dashboard.http import HttpClient
from jobs.deadline import Deadline
from jobs.errors import JobsError, NotAllowed, ServerFault
from tests.support.command import Cli
from tests.support.proxy import answer, server

CHECK = "Check the address"


def error_of(location: str | None, status: int = 302, *, base: str = "", body: str = "") -> JobsError:
    headers = {} if location is None else {"Location": location}

    async def ask(url: str) -> None:
        http = HttpClient(url + base)
        await http.ask("GET", "/api/jobs/", deadline=Deadline(5.0), parse=lambda response: response)

    with server(answer(status, body, "text/html", headers=headers)) as running:
        with pytest.raises(JobsError) as raised:
            asyncio.run(ask(running.url))
        assert len(running.requests) == 1, "it is not tried again"
    return raised.value


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
@pytest.mark.parametrize("body", ["", "<html>Moved</html>"])
def test_an_address_that_moved_to_https_is_named_with_what_to_write(status: int, body: str) -> None:
    error = error_of("https://ray.example.com/api/jobs/", status, body=body)
    assert isinstance(error, ServerFault)
    assert error.exit_code == 6
    assert f"redirects to https://ray.example.com (HTTP {status})" in error.message
    assert error.remedy == "If this is your Ray, write `--address https://ray.example.com`."


@pytest.mark.parametrize(
    ("location", "base", "address"),
    [
        ("https://other.example.com:8443/api/jobs/", "", "https://other.example.com:8443"),
        ("//other.example.com/api/jobs/", "", "http://other.example.com"),
        ("https://ray.example.com/ray/api/jobs/", "", "https://ray.example.com/ray"),
        ("https://ray.example.com/api/jobs", "", "https://ray.example.com"),
        ("https://ray.example.com/team/api/jobs/", "/team", "https://ray.example.com/team"),
        ("https://ray-auth.example.com/api/jobs/", "", "https://ray-auth.example.com"),
        ("https://[fd00::1]:8265/api/jobs/", "", "https://[fd00::1]:8265"),
        ("https://user:password@ray.example.com/api/jobs/?token=secret", "", "https://ray.example.com"),
    ],
)
def test_the_address_to_write_is_what_leads_to_the_target(location: str, base: str, address: str) -> None:
    error = error_of(location, base=base)
    assert f"redirects to {address} (HTTP 302)" in error.message
    assert error.remedy == f"If this is your Ray, write `--address {address}`."
    assert "secret" not in str(error)
    assert "password" not in str(error)


def test_a_relative_target_is_that_of_the_same_server() -> None:
    error = error_of("/ray/api/jobs/", 307)
    assert error.remedy.startswith("If this is your Ray, write `--address http://127.0.0.1:")
    assert error.remedy.endswith("/ray`.")


@pytest.mark.parametrize(
    ("location", "named"),
    [
        (None, "names no usable target"),
        ("https://[", "names no usable target"),
        ("https://ray.example.com:port/", "names no usable target"),
        ("mailto:someone@example.com", "names no usable target"),
        ("/somewhere/else", "/somewhere/else (HTTP 302)"),
        ("/api/jobs", "redirects to http://127.0.0.1:"),
        ("", "names no usable target"),
    ],
)
def test_a_target_that_no_address_leads_to_asks_to_check(location: str | None, named: str) -> None:
    error = error_of(location)
    assert named in error.message
    assert error.remedy.startswith(CHECK)


@pytest.mark.parametrize(
    "location",
    [
        "https://accounts.google.com/o/oauth2/v2/auth?client_id=1.apps.googleusercontent.com&state=secret",
        "/oauth2/sign_in?rd=%2Fapi%2Fjobs%2F",
        "/oauth2/start?rd=secret",
        "https://keycloak.example.com/realms/ml/protocol/openid-connect/auth?state=secret",
        "https://login.microsoftonline.com/0/oauth2/v2.0/authorize?nonce=secret",
        "https://dex.example.com/dex/auth/ldap",
        "https://sso.example.com/start",
        "https://idp.example.com/adfs/ls?SAMLRequest=secret",
        "/login?next=%2Fapi%2Fjobs%2F",
        "https://team.cloudflareaccess.com/cdn-cgi/access/login/ray.example.com?kid=secret",
    ],
)
def test_a_login_page_is_named_as_one(location: str) -> None:
    error = error_of(location)
    assert isinstance(error, NotAllowed)
    assert "requires a login in a browser: it redirects to " in error.message
    assert "--headers" in error.remedy
    assert "secret" not in str(error)


def test_a_redirect_from_https_to_http_is_not_recommended() -> None:
    import httpx

    from jobs.dashboard.http_errors import LOCATION, error_of_response

    request = httpx.Request("GET", "https://ray.example.com/api/jobs/")
    location = {LOCATION: "http://ray.example.com/api/jobs/"}
    error = error_of_response(httpx.Response(301, extensions=location, request=request), "https://ray.example.com")
    assert "Others could read the token" in error.remedy
    assert "--address" not in error.remedy


@pytest.mark.parametrize("command", [["list"], ["logs", "j"], ["check"], ["submit", "--no-wait", "--", "true"]])
def test_the_token_is_never_sent_to_another_host(bare_cli: Cli, command: list[str]) -> None:
    (bare_cli.cwd / "token").write_text("the-token")
    with server(answer(200, json.dumps([]))) as other:
        moved = answer(308, "", headers={"Location": f"{other.url}/api/version"})
        with server(moved) as running:
            done = bare_cli(*command[:1], "--token-file", "token", *command[1:], address=running.url)
    assert done.returncode == 6
    assert other.requests == []
    assert f"redirects to {other.url}".encode() in done.stdout + done.stderr
