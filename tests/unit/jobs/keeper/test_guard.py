"""Who may ask, under which name, and what every answer says to the browser."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from jobs.keeper.web.access import KEY_SECONDS, MOST, REFRESH_SECONDS, SESSION_SECONDS, Access
from jobs.keeper.web.app import create_app, routes_of
from jobs.keeper.web.cluster_view import KeeperState
from jobs.keeper.web.guard import LOOPBACK_NAMES
from tests.support.keeper_page import TOKEN, Page, failed
from tests.unit.jobs.keeper.conftest import BASE, ask, client_of

PROTECTED = [
    "/",
    "/cluster",
    "/jobs/a",
    "/jobs/a/log-part",
    "/v1/jobs",
    "/v1/jobs/a",
    "/v1/jobs/a/log",
    "/v1/events",
]
OPEN = ["/healthz", "/livez", "/metrics", "/static/app.css", "/static/app.js", "/static/icon.svg"]


@pytest.mark.parametrize("path", PROTECTED)
def test_a_stranger_gets_nothing(stranger: TestClient, path: str) -> None:
    answer = stranger.get(path)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert "rayjobs page" in answer.text


@pytest.mark.parametrize("path", OPEN)
def test_health_metrics_and_static_files_are_for_all(stranger: TestClient, path: str) -> None:
    assert stranger.get(path).status_code == 200


def test_every_route_is_protected_or_known_to_be_open(page: Page, stranger: TestClient) -> None:
    paths = {route.path for route in routes_of(page.served)} - {"/healthz", "/livez", "/metrics", "/open", "/static"}
    for path in paths:
        for method in ("GET", "POST", "HEAD", "DELETE", "OPTIONS"):
            assert stranger.request(method, re.sub(r"\{.*?\}", "a", path)).status_code == 401, (method, path)


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer ä"])
def test_another_token_is_refused(page: Page, header: str) -> None:
    assert client_of(page).get("/v1/jobs", headers={"authorization": header.encode()}).status_code == 401


def test_behind_a_proxy_with_its_own_login_the_token_is_in_the_other_header_of_ray(page: Page) -> None:
    login = {"authorization": "Basic cHJveHk6bG9naW4="}
    assert client_of(page).get("/v1/jobs", headers=login).status_code == 401
    for token, status in ((TOKEN, 200), ("wrong", 401)):
        headers = {**login, "x-ray-authorization": f"Bearer {token}"}
        assert client_of(page).get("/v1/jobs", headers=headers).status_code == status


def test_a_wrong_token_is_refused_even_from_a_browser_with_the_cookie(browser: TestClient) -> None:
    assert browser.get("/v1/jobs", headers={"authorization": "Bearer wrong"}).status_code == 401


def test_the_token_is_asked_for_at_each_request() -> None:
    tokens = ["old"]
    access = Access(lambda: tokens[0])
    assert access.is_token("Bearer old")
    tokens[0] = "new"
    assert not access.is_token("Bearer old")
    assert access.is_token("bearer new")


def test_a_token_that_was_rotated_is_known_at_the_first_request_with_it() -> None:
    tokens, now = {"read": "old", "real": "new"}, [0.0]
    reads: list[float] = []

    async def refresh() -> None:
        reads.append(now[0])
        tokens["read"] = tokens["real"]

    access = Access(lambda: tokens["read"], lambda: now[0], refresh=refresh)
    assert asyncio.run(access.is_token_now("Bearer old"))
    assert not reads
    assert asyncio.run(access.is_token_now("Bearer new"))
    assert not asyncio.run(access.is_token_now("Bearer old"))
    assert reads == [0.0]  # Wrong tokens cause a read at most once a second.
    now[0] = REFRESH_SECONDS
    assert not asyncio.run(access.is_token_now("Bearer old"))
    assert reads == [0.0, REFRESH_SECONDS]


def test_of_two_requests_at_once_after_a_rotation_both_are_right() -> None:
    tokens = {"read": "old"}

    async def refresh() -> None:
        await asyncio.sleep(0.01)
        tokens["read"] = "new"

    async def both() -> list[bool]:
        access = Access(lambda: tokens["read"], refresh=refresh)
        return await asyncio.gather(*(access.is_token_now("Bearer new") for _ in range(2)))

    assert asyncio.run(both()) == [True, True]


def test_a_cluster_without_tokens_is_open_to_all_who_reach_it_but_not_to_pages_of_others(page: Page) -> None:
    app = create_app(replace(page.served, access=Access(is_open=True)), [*LOOPBACK_NAMES, "ray-keeper.ns"])
    anyone = TestClient(app, "http://ray-keeper.ns:8270", client=("10.0.0.9", 50000))
    assert [anyone.get(path).status_code for path in ("/", "/v1/jobs", "/metrics")] == [200, 200, 200]
    assert anyone.get("/v1/jobs", headers={"authorization": "Bearer any"}).status_code == 200
    assert anyone.get(anyone.post("/v1/page-keys").json()["path"]).status_code == 200
    assert anyone.get("/v1/jobs", headers={"host": "evil.example"}).status_code == 421
    assert anyone.get("/v1/jobs", headers={"sec-fetch-site": "cross-site"}).status_code == 403


def test_the_process_lives_also_while_it_cannot_keep(page: Page) -> None:
    served = replace(page.served, state=lambda: KeeperState(problems=("The disk is full.",)))
    stranger = TestClient(create_app(served), BASE)
    assert stranger.get("/livez").status_code == 200
    assert (stranger.get("/healthz").status_code, stranger.get("/healthz").json()["problems"]) == (
        503,
        ["The disk is full."],
    )


def test_without_a_token_of_the_cluster_no_token_is_right() -> None:
    assert not Access(lambda: None).is_token("Bearer None")
    assert not Access(lambda: "").is_token("Bearer ")


def test_the_opened_url_works_once(page: Page, stranger: TestClient) -> None:
    path = page.access.new_path()
    answer = stranger.get(path, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert all(word in cookie for word in ("httponly", "samesite=strict", "path=/", "max-age="))
    assert stranger.get("/").status_code == 200
    again = client_of(page).get(path)
    assert again.status_code == 403
    assert "set-cookie" not in again.headers


def test_a_look_at_the_url_without_opening_it_does_not_use_it(page: Page, stranger: TestClient) -> None:
    path = page.access.new_path()
    assert stranger.head(path).status_code == 405
    assert stranger.get(path).status_code == 200


@pytest.mark.parametrize("query", ["", "?key=", "?key=wrong", "?other=x"])
def test_another_key_opens_nothing(stranger: TestClient, query: str) -> None:
    assert stranger.get(f"/open{query}").status_code == 403


def test_keys_and_cookies_end() -> None:
    now = [0.0]
    access = Access(now=lambda: now[0])
    path = access.new_path()
    now[0] = KEY_SECONDS
    assert access.use_key(path.partition("=")[2]) is None
    session = access.use_key(access.new_path().partition("=")[2])
    assert access.is_session(session)
    now[0] += SESSION_SECONDS
    assert not access.is_session(session)


def test_many_keys_push_out_the_oldest() -> None:
    access = Access()
    first, *_, last = [access.new_path().partition("=")[2] for _ in range(MOST + 1)]
    assert access.use_key(first) is None
    assert access.use_key(last) is not None


def test_a_cookie_is_no_key_from_another_machine(page: Page, browser: TestClient) -> None:
    elsewhere = TestClient(page.app, BASE, client=("10.0.0.9", 50000), cookies=dict(browser.cookies))
    assert elsewhere.get("/").status_code == 401


def test_a_cookie_of_another_server_is_refused(page: Page) -> None:
    assert client_of(page, cookie=f"{page.access.cookie}=wrong").get("/").status_code == 401
    assert page.access.cookie != Access().cookie


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_page_of_another_site_or_port_reads_nothing_with_the_cookie(browser: TestClient, site: str) -> None:
    assert browser.get("/v1/jobs", headers={"sec-fetch-site": site, "sec-fetch-mode": "no-cors"}).status_code == 403
    link = {"sec-fetch-site": site, "sec-fetch-mode": "navigate"}
    assert browser.get("/", headers=link).status_code == 200


def test_a_program_gets_a_key_for_the_browser_and_a_browser_gets_none(program: TestClient, browser: TestClient) -> None:
    answer = program.post("/v1/page-keys")
    assert answer.status_code == 201
    assert program.get(answer.json()["path"]).status_code == 200
    assert browser.post("/v1/page-keys").status_code == 403


HOSTS = ["127.0.0.1", "127.0.0.1:8265", "localhost:1", "LOCALHOST", "[::1]", "[::1]:8000"]
OTHERS = [
    "evil.example",
    "evil.example:8000",
    "127.0.0.1.evil.example",
    "127.0.0.1:x",
    "::1",
    "",
    "localhost.",
    "10.0.0.1",
]


@pytest.mark.parametrize("host", HOSTS)
def test_it_answers_under_the_names_of_this_machine(program: TestClient, host: str) -> None:
    assert program.get("/v1/jobs", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", OTHERS)
@pytest.mark.parametrize("path", ["/v1/jobs", "/", "/open?key=x", "/healthz", "/static/app.css"])
def test_it_does_not_answer_under_another_name(program: TestClient, host: str, path: str) -> None:
    assert program.get(path, headers={"host": host}).status_code == 421


def test_a_request_without_a_host_or_with_two_is_refused(page: Page) -> None:
    for hosts in ([], ["localhost", "localhost"]):
        headers = [(b"host", host.encode()) for host in hosts]
        assert ask(page, {"type": "http", "headers": headers})[0]["status"] == 421
    assert ask(page, {"type": "websocket"}) == [{"type": "websocket.close", "code": 1008}]


@pytest.mark.parametrize(
    "path",
    [
        *(path for path in PROTECTED if path != "/v1/events"),
        *OPEN,
        "/jobs/none",
        "/v1/none",
        "/nothing",
        "/static/none",
        "/open?key=x",
        "/?since=never",
        "/?cursor=x",
    ],
)
def test_every_answer_has_the_policy(page: Page, browser: TestClient, path: str) -> None:
    page.keep(failed("a"), logs={"a": b"<script>"})
    answers = [
        browser.get(path),
        browser.post(path),
        browser.get(path, headers={"host": "evil"}),
        client_of(page).get(path),
    ]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["cache-control"] == ("no-cache" if path.startswith("/static/") else "no-store")
        assert "access-control-allow-origin" not in answer.headers


def test_a_fault_inside_shows_nothing_of_it_and_has_the_policy(page: Page, browser: TestClient) -> None:
    page.keep(failed("a"))
    (page.kept.directory / "ledger.sqlite").write_bytes(b"damaged " * 1000)
    for path in ("/", "/v1/jobs", "/jobs/a"):
        answer = browser.get(path)
        assert answer.status_code == 503
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "Traceback" not in answer.text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_changed(browser: TestClient, method: str) -> None:
    for path in PROTECTED:
        answer = browser.request(method, path)
        assert answer.status_code == 405
        assert "GET" in answer.headers["allow"]


@pytest.mark.parametrize("path", ["/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/guard.py", "/static/"])
def test_only_static_files_are_static(stranger: TestClient, path: str) -> None:
    assert stranger.get(path).status_code in (401, 404)
