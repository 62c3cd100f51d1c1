"""Which fields a kubeconfig may have. kubectl is the reference where it is here."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import Refused
from tests.support.api_server import kubeconfig_of
from tests.support.identity_server import Server, cluster_of, identity, kubectl, kubectl_refuses, plugin

SECRET = "hunter2"
NO_PEM = base64.b64encode(b"x").decode()
AS = {"token": "t", "as": "jane"}
EXEC = {"apiVersion": "client.authentication.k8s.io/v1", "command": "c", "interactiveMode": "Never"}


@pytest.mark.parametrize(
    ("user", "cluster", "words"),
    [
        ({"token": "t", "as-groups": ["a"]}, {}, "and no `as`"),
        ({"token": "t", "as-uid": "1"}, {}, "and no `as`"),
        ({"auth-provider": {"name": "gcp"}}, {}, "auth-provider"),
        ({"tokenFile": "missing"}, {}, "tokenFile of the kubeconfig"),
        ({"tokenFile": "empty"}, {}, "is empty"),
        ({"password": SECRET}, {}, "has a password and no username"),
        ({"client-certificate-data": NO_PEM}, {}, "has no client-key"),
        ({"client-certificate-data": NO_PEM, "client-key-data": NO_PEM}, {}, "cannot be used"),
        ({"token": "t"}, {"certificate-authority": "", "certificate-authority-data": NO_PEM}, "is no certificate"),
        ({"token": "t"}, {"certificate-authority": "missing.crt"}, "missing.crt cannot be read: No such file"),
        ({"token": "t"}, {"server": ""}, "has no server"),
        ({"token": "t"}, {"server": "https://k8s.example.com:port"}, "has no server"),
        ({"token": "t"}, {"server": "https://"}, "has no server"),
        ({"token": "t"}, {"server": " https://127.0.0.1:9"}, "has no server"),
        ({"token": "t"}, {"proxy-url": "ftp://x"}, "proxy-url of the kubeconfig is no proxy"),
        # Other types: kubectl's message is "cannot unmarshal ... into Go struct field".
        ({"token": 123}, {}, "token has to be a text"),
        ({"token": [SECRET]}, {}, "token has to be a text"),
        ({"token": "t", "as": 5}, {}, "as has to be a text"),
        ({**AS, "as-groups": "team"}, {}, "as-groups has to be a list of texts"),
        ({**AS, "as-groups": [1]}, {}, "as-groups has to be a list of texts"),
        ({**AS, "as-user-extra": {"a": "b"}}, {}, "as-user-extra has to be a mapping of lists of texts"),
        ({**AS, "as-user-extra": ["a"]}, {}, "as-user-extra has to be a mapping of lists of texts"),
        ({"exec": "program"}, {}, "exec has to be a mapping"),
        ({"auth-provider": "gcp"}, {}, "auth-provider has to be a mapping"),
        ({"token": "t"}, {"server": 5}, "server has to be a text"),
        ({"token": "t"}, {"insecure-skip-tls-verify": "false"}, "insecure-skip-tls-verify has to be true or false"),
        ({"token": "t"}, {"extensions": "x"}, "extensions has to be a list of mappings"),
        # Two of which one would be ignored.
        ({"token": "t", "username": "u", "password": SECRET}, {}, "has token and username"),
        ({"exec": EXEC, "auth-provider": {"name": "oidc"}}, {}, "has exec and auth-provider"),
        ({"token": "t"}, {"insecure-skip-tls-verify": True}, "has insecure-skip-tls-verify and certificate-authority"),
        (
            {"token": "t"},
            {"certificate-authority-data": NO_PEM},
            "certificate-authority and certificate-authority-data",
        ),
        # Go's http client refuses them; h11 does too, and repeats them.
        ({"token": f"{SECRET}\nx"}, {}, "token of the kubeconfig's user has a line break"),
        ({"token": "t", "as": "a\nb"}, {}, "as of the kubeconfig's user has a line break"),
        ({**AS, "as-groups": ["a\rb"]}, {}, "as-groups of the kubeconfig's user has a line break"),
    ],
)
def test_what_kubectl_refuses_is_refused_by_the_name_of_its_field(
    user: dict[str, Any],
    cluster: dict[str, Any],
    words: str,
    connect: Callable[..., Any],
    server: Server,
    tmp_path: Path,
) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(Refused) as refused:
        connect(user, **cluster)
    assert words in refused.value.message, refused.value.message
    assert SECRET not in f"{refused.value.message}{refused.value.remedy}"
    assert kubectl_refuses(kubeconfig_of(tmp_path, user, {**cluster_of(server), **cluster}))


@pytest.mark.parametrize(
    ("user", "cluster", "words"),
    [
        ({"token": "t", "impersonate": "x"}, {}, "impersonate, which is not supported"),
        ({"token": "t"}, {"new-field": "x"}, "new-field, which is not supported"),
    ],
)
def test_a_field_that_kubectl_does_not_know_is_refused(
    user: dict[str, Any], cluster: dict[str, Any], words: str, connect: Callable[..., Any]
) -> None:
    with pytest.raises(Refused) as refused:
        connect(user, **cluster)
    assert words in refused.value.message
    assert "Supported: " in refused.value.remedy


@pytest.mark.parametrize(
    ("user", "cluster"),
    [
        ({"token": "é"}, {}),
        ({"token": "t", "as": "jané"}, {}),
        ({"token": "t", "as": " jane "}, {}),
        ({**AS, "as-groups": None}, {}),
        ({**AS, "as-user-extra": {"é%": ["a"], "none": None}}, {}),
        ({"username": "é", "password": "ü"}, {}),
        ({"username": "u"}, {}),
        ({"token": "t"}, {"server": "HTTPS"}),
        ({"token": "t"}, {"certificate-authority": "comments.pem"}),
        ({"token": "t"}, {"certificate-authority": "leaf.pem"}),
    ],
    ids=str,
)
def test_what_kubectl_takes_is_taken_and_makes_the_same_request(
    user: dict[str, Any], cluster: dict[str, Any], connect: Callable[..., Any], server: Server, tmp_path: Path
) -> None:
    authority, own = (tmp_path / "ca.pem").read_text(), (tmp_path / "server.pem").read_text()
    (tmp_path / "comments.pem").write_text(f"# Főtanúsítvány\n{authority}")
    (tmp_path / "leaf.pem").write_text(own[own.index("-----BEGIN CERTIFICATE") :])
    if cluster.get("server"):
        cluster = {"server": server.url.replace("https", cluster["server"])}
    ours = identity(connect(user, **cluster))
    assert ours == identity(kubectl(server, kubeconfig_of(tmp_path, user, {**cluster_of(server), **cluster})))


@pytest.mark.parametrize(
    ("fields", "user"),
    [
        ({"command": "./login-program"}, {}),
        ({"env": [{"name": "OWN"}]}, {}),
        ({"args": None, "env": None}, {}),
        ({}, {"username": "u", "password": "p"}),
        ({}, {"token": "t"}),
    ],
    ids=str,
)
def test_a_login_program_is_found_and_used_as_kubectl_does(
    fields: dict[str, Any], user: dict[str, Any], connect: Callable[..., Any], server: Server, tmp_path: Path
) -> None:
    entry = {**plugin(tmp_path, {"token": "from-program"}, **fields), **user}
    ours = identity(connect(entry))
    assert ours == identity(kubectl(server, kubeconfig_of(tmp_path, entry, cluster_of(server))))
