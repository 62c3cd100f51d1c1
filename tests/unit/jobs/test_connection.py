"""Where the token goes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.connection import agent_is_safe, open_connection, verify_identity
from jobs.kubernetes.api import Kube
from jobs.target.options import TargetOptions
from tests.support.api_server import UID, api_server
from tests.support.fake_ray import fake_ray
from tests.support.outputs import cluster_of, contract, write


@pytest.mark.parametrize(
    ("url", "agent", "safe"),
    [
        ("http://127.0.0.1:8265", "http://127.0.0.1:52365", True),
        # A tunnel by somebody else: the pod's address may be another machine's in this network.
        ("http://127.0.0.1:8265", "http://203.0.113.9:52365", False),
        ("https://ray.example.com", "http://10.0.0.1:52365", False),
        ("http://ray.example.com:8265", "http://10.0.0.1:52365", False),
    ],
)
def test_the_token_goes_to_an_agent_only_where_that_is_safe(
    url: str, agent: str, safe: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert agent_is_safe(url, agent) is safe


@pytest.mark.parametrize(("expected", "verified", "notices"), [(UID, True, 0), (None, False, 1)])
def test_a_cluster_that_cannot_be_compared_is_reported(
    tmp_path: Path, expected: str | None, verified: bool, notices: int
) -> None:
    texts: list[str] = []

    async def verify(config: Path) -> bool:
        kube = await Kube.open(str(config), "test")
        try:
            return await verify_identity(kube, expected, texts.append)
        finally:
            await kube.close()

    with api_server(tmp_path) as config:
        assert asyncio.run(verify(config)) is verified
    assert len(texts) == notices
    assert all("clusterUid" in text for text in texts)


@pytest.mark.parametrize(("auth_secret", "notices"), [(None, 1), ({"name": "ray-0", "key": "auth_token"}, 0)])
def test_a_tunnel_that_every_user_of_the_machine_can_use_is_reported(
    tmp_path: Path, auth_secret: dict[str, str] | None, notices: int
) -> None:
    folder = "/api/v1/namespaces/ray-cluster"
    pod = {"metadata": {"name": "head"}, "status": {"phase": "Running"}}
    objects = {
        f"{folder}/services/ray-0-head-svc": {"spec": {"selector": {"a": "b"}}},
        f"{folder}/pods": {"items": [pod]},
        f"{folder}/secrets/ray-0": {"data": {"auth_token": "c2VjcmV0"}},
    }
    clusters = [{**contract()["clusters"][0], "authSecret": auth_secret}]
    outputs = write(tmp_path / "outputs.json", {**contract(clusterUid=UID, kubeContext="test"), "clusters": clusters})
    texts: list[str] = []

    async def open_and_close(config: Path) -> None:
        target = cluster_of(TargetOptions(outputs=str(outputs), kubeconfig=str(config)), {}, tmp_path)
        async with open_connection(target, notify=texts.append):
            pass

    with api_server(tmp_path, objects) as config:
        asyncio.run(open_and_close(config))
    assert len([text for text in texts if "every user of this machine" in text]) == notices == len(texts)


def test_a_pod_connects_to_the_heads_service_and_to_agents_of_its_cluster_directly(tmp_path: Path) -> None:
    folder = "/api/v1/namespaces/ray-cluster"
    objects = {
        f"{folder}/pods": {"items": [{"metadata": {"name": "worker"}, "status": {"podIP": "127.0.0.1"}}]},
        f"{folder}/secrets/ray-0": {"data": {"auth_token": "c2VjcmV0"}},
    }
    outputs = write(tmp_path / "outputs.json", contract(clusterUid=UID, kubeContext="test"))

    async def connect(config: Path, url: str) -> None:
        target = cluster_of(TargetOptions(outputs=str(outputs), kubeconfig=str(config)), {}, tmp_path)
        # Neither the head nor its token has to be there yet: the keeper may start first.
        async with open_connection(replace(target, in_cluster=True)) as connection:
            assert connection.url == "http://ray-0-head-svc.ray-cluster.svc:8265"
            assert connection.identity == target.identity == f"{UID}/ray-cluster/ray-0"
            agent = await connection.client.agent(url)
            assert agent is not None
            assert (await agent.once("GET", "/api/version")).status_code == 200
            # No pod of the cluster: the token is not sent there.
            assert await connection.client.agent(url.replace("127.0.0.1", "127.0.0.9")) is None

    with api_server(tmp_path, objects) as config, fake_ray(token="secret") as ray:
        asyncio.run(connect(config, ray.url))
        assert ray.requests["/api/version"] == 1
