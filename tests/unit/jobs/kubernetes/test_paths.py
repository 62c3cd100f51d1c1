"""Names in API paths: no name leads to another object."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.unit.components.api_server import api_server

from jobs.errors import NotThere, Refused
from jobs.kubernetes.api import Kube
from jobs.kubernetes.paths import resource_path, segment

TRICKY = ["../../kube-system/secrets/x", "a/b", "a?b=c", "a#b", "a%2e", "a b", "a\n"]


@pytest.mark.parametrize("name", TRICKY)
def test_a_name_stays_one_segment(name: str) -> None:
    path = resource_path("v1", "secrets", name, "ray")
    assert path.startswith("/api/v1/namespaces/ray/secrets/")
    assert path.count("/") == 6
    assert not set(path) & set("?# \n")


@pytest.mark.parametrize("name", [".", "..", ""])
def test_a_name_that_means_another_folder_is_refused(name: str) -> None:
    with pytest.raises(Refused):
        segment(name)


def test_paths_of_groups_and_subresources() -> None:
    assert (
        resource_path("ray.io/v1", "rayclusters", "x", "n", "status")
        == "/apis/ray.io/v1/namespaces/n/rayclusters/x/status"
    )
    assert resource_path("v1", "namespaces", "kube-system") == "/api/v1/namespaces/kube-system"
    assert resource_path("rbac.authorization.k8s.io/v1", "clusterroles", "system:x").endswith("/clusterroles/system:x")


def test_no_name_reads_the_secret_of_another_namespace(tmp_path: Path) -> None:
    """The stand-in resolves `..` as the real API server does after its redirect."""
    stolen = {"data": {"auth_token": "c3RvbGVu"}}
    places = ["/api/v1/namespaces/kube-system/secrets/x", "/api/v1/namespaces/ray/secrets/../../kube-system/secrets/x"]

    async def read(config: Path, name: str) -> str:
        kube = await Kube.open(str(config), "test")
        try:
            return await kube.secret_value("ray", name, "auth_token")
        finally:
            await kube.close()

    with api_server(tmp_path, dict.fromkeys(places, stolen)) as config, pytest.raises(NotThere):
        asyncio.run(read(config, "../../kube-system/secrets/x"))


@pytest.mark.parametrize(
    "path", ["/api/v1/namespaces/../secrets/x", "/api/v1//x", "api/v1", "/api/v1/x?y=z", "/api/v1/x#"]
)
def test_a_request_with_a_path_that_leads_elsewhere_is_refused(tmp_path: Path, path: str) -> None:
    async def request(config: Path) -> None:
        kube = await Kube.open(str(config), "test")
        try:
            await kube.request("GET", path)
        finally:
            await kube.close()

    with api_server(tmp_path) as config, pytest.raises(Refused, match="not the path"):
        asyncio.run(request(config))
