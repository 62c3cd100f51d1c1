"""The outputs file: what is refused, what is ignored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs.errors import Refused
from jobs.target.contract import KeeperService
from jobs.target.options import TargetOptions
from tests.support.outputs import cluster_of, contract, write


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (contract(schemaVersion=2), "schemaVersion 2"),
        ("{", "not JSON"),
        ("[]", "no schemaVersion"),
        (contract(clusters=0), "no Ray cluster"),
        ({**contract(), "clusters": [{"name": "x"}]}, r"clusters\[0\].namespace is missing"),
        ({**contract(), "clusters": [{**contract()["clusters"][0], "dashboardPort": "x"}]}, "dashboardPort"),
        ({**contract(), "clusters": [{**contract()["clusters"][0], "authSecret": {"name": "x"}}]}, "authSecret"),
        ({**contract(), "clusters": [{**contract()["clusters"][0], "keeper": "x"}]}, "keeper must have service and"),
        ({**contract(), "clusters": [{**contract()["clusters"][0], "keeper": {"service": "x"}}]}, "keeper.port must"),
        ({**contract(), "clusters": [{**contract()["clusters"][0], "keeper": {"port": 1}}]}, "service is missing"),
        (contract(prometheus=9090), "prometheus must be a string"),
        (contract(prometheus="prometheus:9090"), "prometheus must be an http or https URL, such as"),
        (contract(prometheus="http://prometheus:99999"), "prometheus must be an http or https URL"),
        (contract(prometheus="http://prometheus\n"), "prometheus must be an http or https URL"),
        (contract(prometheus="http://[::1"), "prometheus must be an http or https URL"),
        (contract(prometheus="http://prometheus/?tenant=a"), "prometheus must have no user, password, query"),
    ],
)
def test_an_outputs_file_that_cannot_be_used_says_what_is_wrong(tmp_path: Path, content: Any, named: str) -> None:
    path = write(tmp_path / "outputs.json", content)
    with pytest.raises(Refused, match=named) as caught:
        cluster_of(TargetOptions(outputs=str(path)), {}, tmp_path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("authSecret", {"name": "../../kube-system/secrets/x", "key": "auth_token"}),
        ("authSecret", {"name": "x", "key": "../token"}),
        ("authSecret", {"name": ["x"], "key": "auth_token"}),
        ("keeper", {"service": "x/proxy?a=b", "port": 8270}),
        ("namespace", "a/../kube-system"),
        ("namespace", "a.b"),
        ("headService", "x/proxy?a=b"),
        ("name", "ray,ray.io/cluster=other"),
        ("name", "x\n"),
        ("name", ".."),
    ],
)
def test_a_name_that_kubernetes_does_not_allow_is_refused(tmp_path: Path, key: str, value: Any) -> None:
    clusters = [{**contract()["clusters"][0], key: value}]
    path = write(tmp_path / "outputs.json", {**contract(), "clusters": clusters})
    with pytest.raises(Refused, match=rf"clusters\[0\]\.{key}") as caught:
        cluster_of(TargetOptions(outputs=str(path)), {}, tmp_path)
    assert "make outputs" in str(caught.value)


def test_names_that_kubernetes_allows_are_accepted(tmp_path: Path) -> None:
    names = {"name": "ray.v2", "authSecret": {"name": "team.ray-token", "key": "AUTH_token.v1"}}
    path = write(tmp_path / "outputs.json", {**contract(), "clusters": [{**contract()["clusters"][0], **names}]})
    target = cluster_of(TargetOptions(outputs=str(path)), {}, tmp_path)
    assert target.cluster.auth_secret == ("team.ray-token", "AUTH_token.v1")


def test_a_keeper_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    keeper = {"service": "ray-keeper", "port": 8270.0}
    path = write(
        tmp_path / "outputs.json", {**contract(), "clusters": [{**contract()["clusters"][0], "keeper": keeper}]}
    )
    cluster = cluster_of(TargetOptions(outputs=str(path)), {}, tmp_path).cluster
    assert cluster.keeper == KeeperService("ray-keeper", 8270)
    assert cluster.to_dict()["keeper"] == {"service": "ray-keeper", "port": 8270}


def test_a_prometheus_with_a_password_is_refused_without_showing_it(tmp_path: Path) -> None:
    path = write(tmp_path / "outputs.json", contract(prometheus="https://me:hunter2@prometheus.example.com"))
    with pytest.raises(Refused, match="prometheus must have no user, password") as caught:
        cluster_of(TargetOptions(outputs=str(path)), {}, tmp_path)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["http://prometheus.monitoring:9090", "https://example.com/prometheus", "http://[fd00::1]:9090", None],
)
def test_the_prometheus_of_the_stack_is_read_and_none_is_named_in_older_files(tmp_path: Path, url: str | None) -> None:
    path = write(tmp_path / "outputs.json", contract() if url is None else contract(prometheus=url))
    target = cluster_of(TargetOptions(outputs=str(path)), {}, tmp_path)
    assert target.contract.prometheus == url
    assert target.contract.to_dict()["prometheus"] == url


def test_unknown_fields_of_the_contract_are_ignored(tmp_path: Path) -> None:
    path = write(tmp_path / "outputs.json", contract(somethingNew={"a": 1}))
    assert cluster_of(TargetOptions(outputs=str(path)), {}, tmp_path).cluster.name == "ray-0"
