"""Which cluster a kubeconfig leads to, and what is said when it leads nowhere. The client and its HTTP are real."""

from __future__ import annotations

import base64
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.cluster.context import connect
from components.errors import StackError
from jobs.kubernetes import tls
from tests.support.api_server import UID, api_server, kubeconfig
from tests.support.tls import make_ca


def with_inline_keys(config: Path, folder: Path) -> None:
    """Puts a CA, a certificate and its key into the kubeconfig."""
    ca, server = make_ca(folder)
    inline = {name: base64.b64encode(file.read_bytes()).decode() for name, file in (("ca", ca), ("server", server))}
    content = yaml.safe_load(config.read_text())
    content["clusters"][0]["cluster"]["certificate-authority-data"] = inline["ca"]
    content["users"][0]["user"] = {"client-certificate-data": inline["server"], "client-key-data": inline["server"]}
    config.write_text(yaml.safe_dump(content))


def problem(path: str, context: str = "") -> str:
    with pytest.raises(StackError) as caught:
        connect(path, context)
    assert "secret-token" not in str(caught.value)
    return str(caught.value)


def test_the_current_context_and_its_identity_are_found(tmp_path: Path) -> None:
    with api_server(tmp_path) as config:
        cluster = connect(str(config), "")
    assert (cluster.context, cluster.uid) == ("test", UID)


def test_kubeconfig_from_the_environment_may_be_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with api_server(tmp_path) as config:
        monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/missing:{config}")
        assert connect("", "").context == "test"


def test_no_kubeconfig_is_said_with_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "missing"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert "no kubeconfig at" in problem("")


def test_a_missing_kubeconfig_of_the_stack_is_named(tmp_path: Path) -> None:
    assert "nothing-here" in problem(str(tmp_path / "nothing-here"), "some")


@pytest.mark.parametrize("content", ["users: [{token: secret-token", "- a list", "just words"])
def test_a_malformed_kubeconfig_is_named_and_not_quoted(content: str, tmp_path: Path) -> None:
    (tmp_path / "config").write_text(content)
    assert "config" in problem(str(tmp_path / "config"))
    assert "config" in problem(str(tmp_path / "config"), "prod")


def test_an_unknown_context_is_named(tmp_path: Path) -> None:
    text = problem(str(kubeconfig(tmp_path, "http://127.0.0.1:1")), "prod")
    assert "no context prod" in text
    assert "one of: test" in text


def test_a_kubeconfig_without_a_current_context_lists_what_there_is(tmp_path: Path) -> None:
    config = kubeconfig(tmp_path, "http://127.0.0.1:1")
    config.write_text(config.read_text().replace("current-context: test", "current-context: ''"))
    assert "no current context. Set `kubeContext` to one of: test" in problem(str(config))


def test_a_context_that_is_named_needs_no_current_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with api_server(tmp_path) as config:
        config.write_text(config.read_text().replace("current-context: test\n", ""))
        assert connect(str(config), "test").uid == UID
        (tmp_path / "bare").write_text("apiVersion: v1\nkind: Config\n")
        monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'bare'}:{config}")
        assert connect("", "test").uid == UID


def test_a_cluster_that_does_not_answer_is_said_to(tmp_path: Path) -> None:
    text = problem(str(kubeconfig(tmp_path, "http://127.0.0.1:1")))
    assert "context test" in text
    assert "does not answer" in text


def test_expired_credentials_are_said_to_be(tmp_path: Path) -> None:
    with api_server(tmp_path, status=401) as config:
        assert "does not accept the credentials (HTTP 401)" in problem(str(config))


def test_a_right_that_is_missing_is_said_to_be(tmp_path: Path) -> None:
    with api_server(tmp_path, status=403) as config:
        assert "not allowed" in problem(str(config))


def test_a_server_that_is_no_kubernetes_is_told(tmp_path: Path) -> None:
    with api_server(tmp_path, status=404) as config:
        assert "context test" in problem(str(config))


@pytest.mark.parametrize("status", [200, 401, 403, 500, None])
def test_no_key_of_a_kubeconfig_is_left_in_a_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int | None
) -> None:
    """`None`: the server cannot be reached."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with api_server(tmp_path, status=status or 200) as config:
        with_inline_keys(config, tmp_path)
        if status is None:
            config.write_text(re.sub(r"http://127.0.0.1:\d+", "http://127.0.0.1:1", config.read_text()))
        monkeypatch.setattr(tempfile, "tempdir", str(temporary))
        if status == 200:
            assert connect(str(config), "").uid == UID
        else:
            problem(str(config))
    assert list(temporary.iterdir()) == []


def test_keys_are_on_disk_only_in_a_private_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    modes: list[tuple[int, int]] = []

    class Watched(tls.NamedContext):
        def load_cert_chain(self, certfile: Any, keyfile: Any = None, password: Any = None) -> None:
            folder = Path(keyfile).parent
            assert folder.parent == temporary
            modes.append((folder.stat().st_mode & 0o777, len(list(temporary.iterdir()))))
            super().load_cert_chain(certfile, keyfile, password)

    with api_server(tmp_path) as config:
        with_inline_keys(config, tmp_path)
        monkeypatch.setattr(tempfile, "tempdir", str(temporary))
        monkeypatch.setattr(tls, "NamedContext", Watched)
        assert connect(str(config), "").uid == UID
    assert modes == [(0o700, 1)]


@pytest.mark.parametrize(
    ("user", "cluster", "words"),
    [
        ({"as-groups": ["team"]}, {}, "and no `as`"),
        ({"as": "jane", "as-groups": "team"}, {}, "as-groups has to be a list of texts"),
        ({}, {"proxy-url": "socks5://me:hunter2@127.0.0.1:9"}, "through the proxy socks5://127.0.0.1:9"),
        ({}, {"proxy-url": "ftp://me:hunter2@proxy"}, "proxy-url of the kubeconfig is no proxy"),
        ({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "/bin/false"}}, {}, "/bin/false"),
    ],
)
def test_the_programs_own_requests_name_what_a_kubeconfig_has_wrong(
    user: dict[str, Any], cluster: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with api_server(tmp_path) as config:
        content = yaml.safe_load(config.read_text())
        if "exec" in user:
            content["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
            del content["users"][0]["user"]["token"]
        content["users"][0]["user"].update(user)
        content["clusters"][0]["cluster"].update(cluster)
        config.write_text(yaml.safe_dump(content))
        with pytest.raises(StackError) as error:
            connect(str(config), "")
    assert words in str(error.value)
    assert "hunter2" not in str(error.value)
