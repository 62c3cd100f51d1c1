"""What the finished manifest may not be, however it came to it."""

from __future__ import annotations

from typing import Any

import pytest

from components.checks import exposure
from components.checks.manifests import build_and_check
from components.errors import StackError
from components.manifests import raycluster
from components.settings import parse
from tests.support.trees import tree


def found(**cluster: Any) -> str:
    (settings,) = parse({"clusters": [cluster]}).clusters
    return "\n".join(exposure.violations(settings, raycluster.manifest(settings, "v1.7.0")))


def pod(**spec: Any) -> dict[str, Any]:
    return {"podTemplate": {"spec": spec}}


def container(name: str, **fields: Any) -> dict[str, Any]:
    return pod(containers=[{"name": name, **fields}])


OPEN = [
    ({"serviceType": "LoadBalancer"}, "spec.headGroupSpec.serviceType: LoadBalancer"),
    ({"serviceType": "NodePort"}, "spec.headGroupSpec.serviceType: NodePort"),
    ({"headService": {"spec": {"type": "LoadBalancer"}}}, "spec.headGroupSpec.headService.spec.type: LoadBalancer"),
    ({"enableIngress": True}, "spec.headGroupSpec.enableIngress"),
]


@pytest.mark.parametrize(("head", "words"), OPEN)
def test_a_head_that_is_open_to_others_needs_a_token(head: dict[str, Any], words: str) -> None:
    assert words in found(auth="disabled", spec={"headGroupSpec": head})
    assert found(spec={"headGroupSpec": head}) == ""


@pytest.mark.parametrize("name", exposure.AUTH_ENV)
def test_token_authentication_is_said_by_its_setting_alone(name: str) -> None:
    assert f"spec.headGroupSpec.template.spec.containers[ray-head]: env {name} is set" in found(
        head={"env": {name: "disabled"}}
    )
    assert "workerGroupSpecs[a].template.spec.initContainers[i]" in found(
        workerGroups={"a": pod(initContainers=[{"name": "i", "image": "i:1", "env": [{"name": name, "value": "x"}]}])}
    )
    assert f"spec.autoscalerOptions: env {name}" in found(autoscaling={"env": {name: "x"}})


@pytest.mark.parametrize(
    "cluster",
    [
        {"head": container("ray-head", image="rayproject/ray:nightly")},
        {"head": container("sidecar", image="sidecar")},
        {"spec": {"autoscalerOptions": {"image": "rayproject/ray:latest"}}},
        {"workerGroups": {"a": pod(initContainers=[{"name": "i", "image": "i:py311-latest"}])}},
    ],
)
def test_no_container_has_a_moving_tag_unless_allowed_in_writing(cluster: dict[str, Any]) -> None:
    assert "its tag moves" in found(**cluster)
    assert found(**cluster, allow=["moving-tag"]) == ""


SAFE = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (pod(hostNetwork=True), "template.spec.hostNetwork"),
        ({"volumes": [{"name": "h", "hostPath": {"path": "/"}}]}, "volumes: hostPath; allowed"),
        ({"securityContext": {"privileged": True}}, "containers[ray-head]: .*no privileged"),
        ({"securityContext": {"allowPrivilegeEscalation": True}}, "allowPrivilegeEscalation: false"),
        ({"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}, "capabilities.add"),
        ({"securityContext": {"capabilities": None}}, "capabilities.drop"),
        ({"securityContext": {"runAsUser": 0}}, "runAsUser other than 0"),
        ({"podSecurityContext": {"runAsNonRoot": False}}, "runAsNonRoot: true"),
        ({"podSecurityContext": {"seccompProfile": {"type": "Unconfined"}}}, "seccompProfile RuntimeDefault"),
        (container("ray-head", ports=[{"name": "dashboard", "containerPort": 8265, "hostPort": 80}]), "no hostPort"),
        (container("sidecar", image="s:1"), "containers[sidecar]: .*allowPrivilegeEscalation"),
    ],
)
def test_pods_that_a_restricted_namespace_would_refuse_are_refused(head: dict[str, Any], words: str) -> None:
    text = found(podSecurity="restricted", head=head)
    assert all(word in text for word in words.split(".*")), text
    assert found(head=head) == ""


def test_a_sidecar_that_is_restricted_itself_is_taken_and_so_is_the_autoscaler() -> None:
    assert found(podSecurity="restricted", head=container("sidecar", image="s:1", securityContext=SAFE)) == ""
    options = {"autoscalerOptions": {"securityContext": {"privileged": True}}}
    assert "spec.autoscalerOptions: not allowed with" in found(podSecurity="restricted", spec=options)


def test_the_checks_of_a_stack_ask_for_all_of_it() -> None:
    settings = parse({"clusters": [{"head": {"env": {"RAY_AUTH_MODE": "disabled"}}}]})
    with pytest.raises(StackError, match="RAY_AUTH_MODE"):
        build_and_check(settings, tree("v1.7.0"))
