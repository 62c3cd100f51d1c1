"""What the environment says about proxies and certificates, for the address of a dashboard."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

import pytest

from jobs.dashboard.client import RayJobsApi
from jobs.dashboard.http import HttpClient
from jobs.deadline import Deadline
from jobs.errors import Unreachable
from tests.support.proxy import answer, server
from tests.support.tls import TlsProxy, make_ca


def list_jobs(url: str) -> None:
    async def ask() -> None:
        client = HttpClient(url)
        try:
            await RayJobsApi(client).list_jobs(Deadline(0.5))
        finally:
            await client.close()

    asyncio.run(ask())


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("no_proxy", ["fd00::/8", "[::1]"])
def test_a_proxy_of_the_environment_is_not_used_for_an_address_and_the_message_says_so(
    name: str, no_proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", no_proxy)
    with server(answer(200, "[]")) as running:
        monkeypatch.setenv(name, "socks5://127.0.0.1:9")
        list_jobs(running.url)
    with pytest.raises(Unreachable) as error:
        list_jobs("http://0.0.0.0:9")
    assert error.value.remedy == f"{name} of the environment is not used for the address of a dashboard."


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
