"""What a kubeconfig says about the connection reaches the API server. kubectl is the reference where it is here."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx_ws
import pytest
import yaml

from jobs.errors import JobsError, NotAllowed, NotThere, Refused, Unreachable
from jobs.kubernetes import kubeconfig
from jobs.kubernetes.api import Kube
from tests.support.api_server import kubeconfig_of
from tests.support.connecting_proxy import connecting_proxy
from tests.support.http_server import running
from tests.support.identity_server import Server, cluster_of, identity, kubectl, kubectl_refuses, plugin
from tests.support.tls import make_ca

IMPERSONATION = {
    "token": "t",
    "as": "jane",
    "as-groups": ["team", "admins"],
    "as-uid": "42",
    "as-user-extra": {"Scopes": ["a", "b"], "example.com/x": ["c"]},
}


@pytest.mark.parametrize(
    "user",
    [{"token": "t"}, {"username": "u", "password": "p"}, {"token": "t", "as": "jane"}, IMPERSONATION],
    ids=["a token", "a password", "as somebody", "as somebody with groups, uid and extra"],
)
def test_the_user_is_the_same_as_for_kubectl(
    user: dict[str, Any], connect: Callable[..., Any], server: Server, tmp_path: Path
) -> None:
    ours = identity(connect(user))
    assert ours
    assert ours == identity(kubectl(server, kubeconfig_of(tmp_path, user, cluster_of(server))))


def test_nothing_secret_goes_over_plain_http_as_with_kubectl(tmp_path: Path) -> None:
    with running(Server()) as server:
        user = plugin(tmp_path, {"token": "t"})
        for each in ({"token": "t", "as": "jane"}, {"username": "u", "password": "p"}, user):
            file = kubeconfig_of(tmp_path, each, {"server": server.url})

            async def run(file: Path = file) -> None:
                await (await Kube.open(str(file), None)).close()

            asyncio.run(run())
            ours = identity(server.headers[-1])
            assert ours == ([("Impersonate-User", "jane")] if "as" in each else [])
            assert ours == identity(kubectl(server, file))
        assert not (tmp_path / "info").exists()


def test_a_token_file_is_read_beside_the_kubeconfig_and_again_at_each_login(
    connect: Callable[..., Any], tmp_path: Path
) -> None:
    for token in ("one", "two"):
        (tmp_path / "token").write_text(f"{token}\n")
        assert identity(connect({"tokenFile": "token"})) == [("Authorization", f"Bearer {token}")]


def test_a_login_program_is_told_the_cluster_as_kubectl_tells_it(
    connect: Callable[..., Any], server: Server, tmp_path: Path
) -> None:
    extension = [{"name": "client.authentication.k8s.io/exec", "extension": {"audience": "a"}}]
    user = plugin(tmp_path, {"token": "from-program"}, provideClusterInfo=True, env=[{"name": "OWN", "value": "x"}])
    headers = connect(user, extensions=extension)
    assert identity(headers) == [("Authorization", "Bearer from-program")]
    ours = json.loads((tmp_path / "info").read_text())
    assert (tmp_path / "own").read_text() == "x"
    assert ours["spec"]["cluster"]["config"] == {"audience": "a"}
    kubectl(server, kubeconfig_of(tmp_path, user, {**cluster_of(server), "extensions": extension}))
    assert ours == json.loads((tmp_path / "info").read_text())


def test_without_provide_cluster_info_it_is_told_only_whether_it_may_ask(
    connect: Callable[..., Any], tmp_path: Path
) -> None:
    connect(plugin(tmp_path, {"token": "t"}))
    assert json.loads((tmp_path / "info").read_text())["spec"] == {"interactive": False}


def test_a_login_program_runs_again_when_its_token_has_expired(server: Server, tmp_path: Path) -> None:
    file = kubeconfig_of(tmp_path, plugin(tmp_path, {"token": "first"}), cluster_of(server))

    async def run() -> None:
        kube = await Kube.open(str(file), None)
        try:
            server.expired_token = "first"
            plugin(tmp_path, {"token": "second"})
            await kube.cluster_uid()
        finally:
            await kube.close()

    asyncio.run(run())
    assert identity(server.headers[-1]) == [("Authorization", "Bearer second")]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"apiVersion": "client.authentication.k8s.io/v1alpha1"}, "v1alpha1"),
        ({"command": "/no/such/program", "installHint": "Install it from example.com."}, "cannot be started"),
        ({"interactiveMode": "Always"}, "there is no terminal"),
        ({"interactiveMode": "Often"}, "interactiveMode Often"),
        ({"env": [{"value": "A"}]}, "without a name"),
        ({"env": [{"name": "A", "value": 1}]}, "value has to be a text"),
        ({"args": "a b"}, "args has to be a list of texts"),
        ({"argument": ["a"]}, "argument, which is not supported"),
        ({"command": ""}, "names no command"),
    ],
)
def test_an_entry_of_a_login_program_that_cannot_be_used_is_refused(
    change: dict[str, Any], words: str, connect: Callable[..., Any], tmp_path: Path
) -> None:
    user = plugin(tmp_path, {"token": "t"}, **change)
    with pytest.raises(Refused) as refused:
        connect(user)
    assert words in refused.value.message
    assert change.get("installHint", "") in refused.value.remedy


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [({"token": "t"}, 3, "ended with 3"), ({}, 0, "neither a token nor a certificate")],
)
def test_a_login_that_fails_is_named_by_its_program(
    status: dict[str, Any], code: int, words: str, connect: Callable[..., Any], tmp_path: Path
) -> None:
    with pytest.raises(NotAllowed, match=words) as refused:
        connect(plugin(tmp_path, status, code))
    assert "login-program" in refused.value.message


def test_a_user_that_no_file_has_is_refused(tmp_path: Path, server: Server) -> None:
    file = kubeconfig_of(tmp_path, {"token": "t"}, cluster_of(server))
    file.write_text(file.read_text().replace("name: u", "name: other"))
    with pytest.raises(Refused, match="has no user u, which its context names"):
        asyncio.run(Kube.open(str(file), None))


def test_an_entry_is_taken_from_the_first_file_that_has_it_and_its_paths_are_relative_to_that_file(
    tmp_path: Path, server: Server
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, token in ((first, "of-first"), (second, "of-second")):
        folder.mkdir()
        (folder / "token").write_text(token)
    users = {"users": [{"name": "u", "user": {"tokenFile": "token"}}]}
    (first / "kubeconfig").write_text(yaml.safe_dump({"contexts": [], **users}))
    kubeconfig_of(second, {"tokenFile": "token"}, {**cluster_of(server), "certificate-authority": "../ca.pem"})
    both = os.pathsep.join(str(folder / "kubeconfig") for folder in (first, second))

    async def run() -> None:
        kube = await Kube.open(both, None)
        await kube.close()

    asyncio.run(run())
    assert identity(server.headers[-1]) == [("Authorization", "Bearer of-first")]


@pytest.mark.parametrize("scheme", ["http", "socks5"])
@pytest.mark.parametrize("setting", ["proxy-url", "ALL_PROXY", "https_proxy"])
def test_a_proxy_leads_to_the_server_whose_certificate_has_the_tls_server_name(
    setting: str, scheme: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"k8s.example.com:{server.server_port}"
    cluster = {**cluster_of(server), "server": f"https://{address}", "tls-server-name": "127.0.0.1"}
    with connecting_proxy(scheme) as proxy:
        if setting == "proxy-url":
            cluster[setting] = proxy.url
        else:
            monkeypatch.setenv(setting, proxy.url)
        file = kubeconfig_of(tmp_path, {"token": "t"}, cluster)

        async def run() -> None:
            await (await Kube.open(str(file), None)).close()

        asyncio.run(run())
        assert proxy.asked == [address]
        if setting == "proxy-url":
            kubectl(server, file)
            assert proxy.asked == [address, address]


def test_a_tunnel_is_opened_as_the_same_user_and_through_the_same_proxy(server: Server, tmp_path: Path) -> None:
    with connecting_proxy("http") as proxy:
        file = kubeconfig_of(tmp_path, IMPERSONATION, {**cluster_of(server), "proxy-url": proxy.url})

        async def run() -> list[tuple[str, str]]:
            kube = await Kube.open(str(file), None)
            of_request = server.headers[-1]
            server.headers.clear()
            try:
                with pytest.raises(httpx_ws.WebSocketUpgradeError):  # the stand-in has no pods
                    async with kube.api.open_websocket(version="v1", url="pods/p/portforward", namespace="n"):
                        pass
            finally:
                await kube.close()
            return of_request

        of_request = asyncio.run(run())
        assert ("upgrade", "websocket") in [(name.lower(), value) for name, value in server.headers[-1]]
        assert identity(server.headers[-1]) == identity(of_request)
        assert set(proxy.asked) == {f"127.0.0.1:{server.server_port}"}


def test_a_proxy_that_is_down_is_named_without_its_password(connect: Callable[..., Any]) -> None:
    with pytest.raises(Unreachable) as error:
        connect({"token": "t"}, **{"proxy-url": "http://me:hunter2@127.0.0.1:9"})
    assert "through the proxy http://127.0.0.1:9" in error.value.message
    assert "proxy-url" in error.value.remedy
    assert "hunter2" not in f"{error.value.message}{error.value.remedy}"


@pytest.mark.parametrize("no_proxy", ["fd00::/8", "[::1]", "a:b:c", "*"])
def test_no_value_of_no_proxy_ends_in_a_traceback(
    no_proxy: str, connect: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", no_proxy)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    assert identity(connect({"token": "t"})) == [("Authorization", "Bearer t")]


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"])
def test_certificates_of_the_environment_are_trusted_where_the_kubeconfig_names_no_authority(
    name: str, server: Server, connect: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "certificates"
    folder.mkdir()
    file = folder / "ours.pem"
    file.write_bytes((tmp_path / "ca.pem").read_bytes())
    (folder / "README").write_text("no certificate")
    monkeypatch.setenv(name, str(folder if name == "SSL_CERT_DIR" else file))
    user, cluster = {"token": "t"}, {"certificate-authority": ""}
    if name == "REQUESTS_CA_BUNDLE":  # of Python programs; kubectl does not read it
        with pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED") as error:
            connect(user, **cluster)
        assert "SSL_CERT_FILE" in error.value.remedy
        assert kubectl_refuses(kubeconfig_of(tmp_path, user, {**cluster_of(server), **cluster}))
    else:
        assert identity(connect(user, **cluster)) == [("Authorization", "Bearer t")]
        kubectl(server, kubeconfig_of(tmp_path, user, {**cluster_of(server), **cluster}))


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_certificates_of_the_environment_that_are_not_there_are_refused_by_name(
    name: str, connect: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "/no/such/place")
    with pytest.raises(JobsError, match=f"{name}=/no/such/place: not there"):
        connect({"token": "t"}, **{"certificate-authority": ""})


def test_fields_that_change_nothing_here_are_accepted(connect: Callable[..., Any]) -> None:
    cluster = {"disable-compression": True, "extensions": [], "api-version": "v1"}
    headers = dict(connect({"token": "t", "extensions": []}, **cluster))
    assert headers["Accept-Encoding"] == "identity"


def test_the_namespace_of_the_context_is_not_used(server: Server, tmp_path: Path) -> None:
    file = kubeconfig_of(tmp_path, {"token": "t"}, cluster_of(server))
    content = yaml.safe_load(file.read_text())
    content["contexts"][0]["context"]["namespace"] = "of-the-context"
    file.write_text(yaml.safe_dump(content))

    async def run() -> None:
        kube = await Kube.open(str(file), None)
        try:
            with pytest.raises(NotThere, match=r"pods in namespace of-the-stack"):
                await kube.pods("of-the-stack", {})
        finally:
            await kube.close()

    asyncio.run(run())


def test_a_server_whose_certificate_is_not_to_be_verified_is_used(connect: Callable[..., Any]) -> None:
    with pytest.raises(JobsError, match="certificate"):
        connect({"token": "t"}, **{"certificate-authority": ""})
    headers = connect({"token": "t"}, **{"certificate-authority": "", "insecure-skip-tls-verify": True})
    assert identity(headers) == [("Authorization", "Bearer t")]


def test_a_client_certificate_is_presented_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ca, certificate = make_ca(tmp_path)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    inline = base64.b64encode(certificate.read_bytes()).decode()
    for user in (
        {"client-certificate": "server.pem", "client-key": "server.pem"},
        {"client-certificate-data": inline, "client-key-data": inline},
    ):
        with running(Server(certificate)) as server:
            server.require_certificate_of(ca)
            file = kubeconfig_of(tmp_path, user, cluster_of(server))

            async def run(file: Path = file) -> None:
                await (await Kube.open(str(file), None)).close()

            asyncio.run(run())
            assert server.subjects == ["ray"]
    assert list(temporary.iterdir()) == []


def test_a_pod_without_a_kubeconfig_uses_its_service_account(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = tmp_path / "account"
    account.mkdir()
    (account / "token").write_text("of-the-pod")
    (account / "ca.crt").write_bytes((tmp_path / "ca.pem").read_bytes())
    monkeypatch.setattr(kubeconfig, "SERVICE_ACCOUNT", account)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.server_port))

    async def run() -> bool:
        kube = await Kube.open(None, None)
        await kube.close()
        return kube.in_pod

    assert asyncio.run(run())
    assert identity(server.headers[-1]) == [("Authorization", "Bearer of-the-pod")]
