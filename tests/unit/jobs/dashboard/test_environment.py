"""What the environment says about proxies and certificates, for the address of a dashboard."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from jobs.connection import proxy_of_address
from jobs.dashboard.client import RayJobsApi
from jobs.dashboard.http import HttpClient
from jobs.deadline import Deadline
from jobs.diagnose.check import check
from jobs.diagnose.finding import OK, Finding
from jobs.errors import Unreachable
from jobs.target.options import TargetOptions
from jobs.target.resolve import resolve
from tests.support.connecting_proxy import connecting_proxy
from tests.support.http_server import JsonHandler, serve
from tests.support.proxy import answer, server
from tests.support.tls import TlsProxy, make_ca


def list_jobs(url: str, **options: Any) -> None:
    async def ask() -> None:
        client = HttpClient(url, **options)
        try:
            await RayJobsApi(client).list_jobs(Deadline(0.5))
        finally:
            await client.close()

    asyncio.run(ask())


def findings_of(address: str, **options: Any) -> list[Finding]:
    async def collect() -> list[Finding]:
        target = resolve(TargetOptions(address=address, allow_unauthenticated=True, **options), environ={})
        return [finding async for finding in check(target)]

    return asyncio.run(collect())


ANSWERS = {
    "/api/version": {"ray_version": "2.60.0"},
    "/api/jobs/": [],
    "/api/v0/nodes": {"data": {"result": {"result": []}}},
}


class Dashboard(JsonHandler):
    def do_GET(self) -> None:
        self.answer(ANSWERS[self.path.split("?")[0]])


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_an_address_is_reached_through_the_proxy_of_the_environment_and_check_says_so(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(Dashboard) as url, connecting_proxy("socks5") as proxy:
        port = urlsplit(url).port
        monkeypatch.setenv(name, proxy.url)
        api = findings_of(f"http://ray.example.test:{port}")[0]
    assert api.text == f"The Jobs API answers through the proxy {proxy.url} ({name}) (Ray 2.60.0)."
    assert api.data == {"version": ANSWERS["/api/version"], "proxy": f"{proxy.url} ({name})"}
    assert set(proxy.asked) == {f"ray.example.test:{port}"}


def test_tls_to_an_address_leads_through_the_proxy_to_the_dashboard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca, own = make_ca(tmp_path)
    with (
        serve(Dashboard) as url,
        TlsProxy(own, "127.0.0.1", urlsplit(url).port or 0) as dashboard,
        connecting_proxy("http") as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        port = urlsplit(dashboard.url).port
        assert findings_of(f"https://127.0.0.1:{port}", verify=str(ca))[0].kind == OK
        assert proxy.asked == []
        assert findings_of(f"https://ray.example.test:{port}", verify=False)[0].kind == OK
    assert set(proxy.asked) == {f"ray.example.test:{port}"}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "ray.localhost", "0.0.0.0"])
def test_no_proxy_is_used_for_this_machine(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert proxy_of_address(f"http://{host}:8265") is None
    assert proxy_of_address(f"https://{host}") is None


@pytest.mark.parametrize("no_proxy", ["example.test", "*", "other,.example.test"])
def test_no_proxy_leads_past_the_proxy_to_an_address(no_proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    assert proxy_of_address("https://ray.example.test") is not None
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert proxy_of_address("https://ray.example.test") is None


def test_a_client_of_a_tunnel_or_a_local_ray_uses_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only `_open_url` gives a client a proxy."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with server(answer(200, "[]")) as running:
        list_jobs(running.url)


def test_a_proxy_that_is_down_is_named_without_its_password_and_with_the_way_past_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:hunter2@127.0.0.1:9")
    proxy = proxy_of_address("https://ray.example.test")
    assert proxy is not None
    with pytest.raises(Unreachable) as error:
        list_jobs("https://ray.example.test", proxy=proxy.url, proxy_name=proxy.name)
    assert "through the proxy http://127.0.0.1:9 (HTTPS_PROXY)" in error.value.message
    assert error.value.remedy == "If no proxy is needed, set NO_PROXY=ray.example.test."
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_certificates_of_the_environment_are_trusted_for_an_address(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca, own = make_ca(tmp_path)
    folder = tmp_path / "certificates"
    folder.mkdir()
    (folder / "ours.pem").write_bytes(ca.read_bytes())
    subprocess.run(["openssl", "rehash", str(folder)], check=True)
    monkeypatch.setenv(name, str(folder if name == "SSL_CERT_DIR" else ca))
    with server(answer(200, json.dumps([]))) as running, TlsProxy(own, "127.0.0.1", running.port) as proxy:
        if name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
            list_jobs(proxy.url)
        else:
            with pytest.raises(Unreachable) as error:
                list_jobs(proxy.url)
            assert "--verify FILE" in error.value.remedy
