"""Who asks the API server: the user that the kubeconfig impersonates, as for kubectl."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from components.cluster.api import Api
from components.errors import Forbidden
from jobs.kubernetes.api import Kube
from tests.support.cluster import Cluster

ACTS_AS = {
    "as": "jane@example.com",
    "as-groups": ["data-science", "system:authenticated"],
    "as-uid": "jane-42",
    "as-user-extra": {"example.com/Ticket": ["OPS-1", "OPS-2"]},
}
REVIEW = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}


@pytest.fixture
def impersonating(cluster: Cluster, tmp_path: Path) -> Path:
    """The cluster's kubeconfig, whose user acts as Jane."""
    config = json.loads(cluster.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    config["users"][0]["user"].update(ACTS_AS)
    file = tmp_path / "kubeconfig"
    file.touch(mode=0o600)
    file.write_text(json.dumps(config))
    return file


def whoami(kubeconfig: Path) -> dict[str, Any]:
    async def ask() -> dict[str, Any]:
        kube = await Kube.open(str(kubeconfig), None)
        try:
            return await kube.request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body=REVIEW)
        finally:
            await kube.close()

    answer: dict[str, Any] = asyncio.run(ask())["status"]["userInfo"]
    return answer


def test_requests_are_made_as_the_impersonated_user_as_kubectl_makes_them(
    cluster: Cluster, impersonating: Path
) -> None:
    user = whoami(impersonating)
    assert user["username"] == ACTS_AS["as"]
    assert user["uid"] == ACTS_AS["as-uid"]
    assert set(ACTS_AS["as-groups"]) <= set(user["groups"])
    assert user["extra"] == {"example.com/ticket": ["OPS-1", "OPS-2"]}
    of_kubectl = Cluster(cluster.kind, impersonating, cluster.context).kubectl("auth", "whoami", "-o", "json")
    assert user == json.loads(of_kubectl)["status"]["userInfo"]


def test_the_impersonated_users_rights_are_the_ones_that_count(cluster: Cluster, impersonating: Path) -> None:
    with pytest.raises(Forbidden, match=r"jane@example\.com"):
        Api(str(impersonating), cluster.context).get("/api/v1/namespaces/kube-system/secrets")
