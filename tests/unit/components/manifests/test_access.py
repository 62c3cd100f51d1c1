"""Who reaches a cluster, and with which rights."""

from __future__ import annotations

import json
from typing import Any

import yaml

from components.kuberay import source
from components.manifests import access
from components.settings import parse
from components.settings.monitoring import OFF
from components.settings.raycluster import RayClusterSettings
from tests.support.trees import VERSIONS, tree


def cluster(**settings: Any) -> RayClusterSettings:
    (found,) = parse({"clusters": [settings]}).clusters
    return found


def _sorted(rules: list[dict[str, Any]]) -> list[str]:
    return sorted(json.dumps(rule, sort_keys=True) for rule in rules)


def test_job_users_get_exactly_the_role_that_is_documented() -> None:
    documented, *_ = yaml.safe_load_all((source.ROOT / "docs" / "jobs-rbac.yaml").read_text())
    role, binding = access.job_users(cluster(jobUsers=[{"kind": "Group", "name": "science"}]))
    assert _sorted(role["rules"]) == _sorted(documented["rules"])
    assert binding["roleRef"]["name"] == role["metadata"]["name"]


def test_a_job_user_cannot_run_commands_in_containers_unless_its_entry_says_so() -> None:
    science, admin = {"kind": "Group", "name": "science"}, {"kind": "User", "name": "admin", "exec": True}
    assert "pods/exec" not in str(access.job_users(cluster(jobUsers=[science])))
    _, documented, *_ = yaml.safe_load_all((source.ROOT / "docs" / "jobs-rbac.yaml").read_text())
    least, everyone, role, binding = access.job_users(cluster(jobUsers=[science, admin]))
    assert "pods/exec" not in str(least)
    assert [subject["name"] for subject in everyone["subjects"]] == ["science", "admin"]
    assert role["rules"] == documented["rules"]
    assert binding["roleRef"]["name"] == role["metadata"]["name"] != least["metadata"]["name"]
    assert [subject["name"] for subject in binding["subjects"]] == ["admin"]


def test_what_kubernetes_can_limit_to_a_name_is_limited_to_the_clusters() -> None:
    role, _ = access.job_users(cluster(name="mine", jobUsers=[{"kind": "User", "name": "a"}]))
    names = {rule["resources"][0]: rule.get("resourceNames") for rule in role["rules"]}
    without = {"pods", "pods/portforward", "events", "resourcequotas"}
    assert names == {
        "services": ["mine-head-svc"],
        "secrets": ["mine"],
        "rayclusters": ["mine"],
        **dict.fromkeys(without),
    }


def test_job_users_read_the_token_that_the_cluster_really_has_and_no_other_secret() -> None:
    own = cluster(jobUsers=[{"kind": "User", "name": "a"}], auth={"mode": "token", "secretName": "mine"})
    secrets = [rule for rule in access.job_users(own)[0]["rules"] if rule["resources"] == ["secrets"]]
    assert [rule["resourceNames"] for rule in secrets] == [["mine"]]
    without = cluster(jobUsers=[{"kind": "User", "name": "a"}], auth="disabled")
    assert "secrets" not in str(access.job_users(without)[0])


def test_the_ingress_is_the_clusters_external_address() -> None:
    ingress = {"host": "ray.example.com", "tlsSecret": "tls", "controllerNamespace": "ingress"}
    assert access.external_url(cluster(ingress=ingress)) == "https://ray.example.com"
    assert access.external_url(cluster()) is None


def test_a_network_policy_lets_through_what_the_settings_name_and_nobody_else() -> None:
    def callers(**settings: Any) -> list[Any]:
        one = cluster(**settings)
        (head,) = (
            policy
            for policy in access.network_policies(one, parse({}).kuberay, OFF)
            if policy["metadata"]["name"] == f"{one.name}-head"
        )
        found: list[Any] = head["spec"]["ingress"][0]["from"]
        return found

    own_namespace = {"podSelector": {}}
    peer = {"ipBlock": {"cidr": "10.0.0.0/8"}}
    assert callers() == [own_namespace]
    assert callers(networkPolicy={"allowFrom": [peer]}) == [own_namespace, peer]
    assert callers(loadBalancer={"sourceRanges": ["10.0.0.0/8"]}) == [own_namespace, peer]


def test_the_operator_is_let_through_by_a_label_that_its_pods_have_in_every_version() -> None:
    policies = access.network_policies(cluster(), parse({}).kuberay, OFF)
    peers = [peer for policy in policies for rule in policy["spec"]["ingress"] for peer in rule["from"]]
    (wanted,) = (
        peer["podSelector"]["matchLabels"] for peer in peers if {"podSelector", "namespaceSelector"} <= set(peer)
    )
    for version in VERSIONS:
        manager = tree(version) / "ray-operator/config/manager/manager.yaml"
        (deployment,) = (one for one in yaml.safe_load_all(manager.read_text()) if one["kind"] == "Deployment")
        assert wanted.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
