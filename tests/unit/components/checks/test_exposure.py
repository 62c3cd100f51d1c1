"""What the finished manifest may not be, however it came to it."""

from __future__ import annotations

from typing import Any

import pytest

from components.checks import exposure
from components.checks.rayclusters import build_and_check
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
    ({"headService": {"spec": {"externalIPs": ["203.0.113.7"]}}}, "spec.headGroupSpec.headService.spec.externalIPs"),
    (
        {"serviceType": "ClusterIP", "headService": {"spec": {"type": "NodePort"}}},
        "spec.headGroupSpec.headService.spec.type: NodePort",
    ),
]


@pytest.mark.parametrize(("head", "words"), OPEN)
def test_a_head_that_is_open_to_others_needs_a_token(head: dict[str, Any], words: str) -> None:
    assert words in found(auth="disabled", spec={"headGroupSpec": head})
    assert found(spec={"headGroupSpec": head}) == ""


HOST_PORT = [{"containerPort": 8265, "hostPort": 80}]


@pytest.mark.parametrize(
    ("cluster", "words"),
    [
        ({"head": pod(hostNetwork=True)}, "spec.headGroupSpec.template.spec.hostNetwork"),
        ({"workerGroups": {"a": pod(hostNetwork=True)}}, "spec.workerGroupSpecs[a].template.spec.hostNetwork"),
        ({"head": container("ray-head", ports=HOST_PORT)}, "containers[ray-head]: hostPort 80"),
        # The containers of a pod share its network: a sidecar's port can be the dashboard's.
        ({"head": container("sidecar", image="s:1", ports=HOST_PORT)}, "containers[sidecar]: hostPort 80"),
        ({"workerGroups": {"a": container("ray-worker", ports=HOST_PORT)}}, "containers[ray-worker]: hostPort 80"),
    ],
)
def test_a_port_of_the_node_needs_a_token(cluster: dict[str, Any], words: str) -> None:
    assert words in found(auth="disabled", **cluster)
    assert "auth: token" in found(auth="disabled", **cluster)
    assert found(**cluster) == ""


@pytest.mark.parametrize(
    ("cluster", "path"),
    [
        ({"head": container("ray-head", image="rayproject/ray:2.9.0")}, "containers[ray-head]"),
        ({"workerGroups": {"a": container("ray-worker", image="r.example/team/ray:2.9.0-gpu")}}, "[ray-worker]"),
        ({"head": container("ray-head", image="team/app:2.9.0")}, "containers[ray-head]"),
        ({"head": container("second", image="rayproject/ray-ml:2.9.0")}, "containers[second]"),
        ({"spec": {"autoscalerOptions": {"image": "rayproject/ray:2.9.0"}}}, "spec.autoscalerOptions"),
    ],
)
def test_an_image_of_a_ray_without_tokens_is_no_way_around_the_version(cluster: dict[str, Any], path: str) -> None:
    text = found(**cluster)
    assert path in text
    assert "2.9.0, which has no token authentication" in text
    assert "2.52.0 or newer" in text
    # Not even with a load balancer, and no exception opens it.
    assert "no token authentication" in found(**cluster, allow=["old-ray", "open-network"])
    # Without a token nothing is promised, but Ray before the fix is still to be allowed by name.
    assert "allow: [old-ray]" in found(**cluster, auth="disabled")
    assert found(**cluster, auth="disabled", allow=["old-ray"]) == ""


def test_an_image_before_the_fix_needs_the_exception_and_other_images_have_their_own_versions() -> None:
    old = {"head": container("ray-head", image="rayproject/ray:2.53.0")}
    assert "allow: [old-ray]" in found(**old)
    assert found(**old, allow=["old-ray"]) == ""
    assert found(head=container("logs", image="fluent/fluent-bit:2.1.8")) == ""
    assert found(head=container("ray-head", image="team/app:1.4.0")) == ""
    assert found(head=container("ray-head", image="rayproject/ray:2.60.0-py311")) == ""
    assert "no token authentication" in found(image="hub.example/rayproject/ray:2.40.0", rayVersion="2.60.0")
    assert found(image="team/ray:2.40.0", rayVersion="2.60.0") == ""
    assert found(head=container("ray-head", image=f"team/app@sha256:{'0' * 64}")) == ""


def test_a_load_balancer_of_the_head_without_tls_is_not_for_everyone() -> None:
    def head(**service: Any) -> dict[str, Any]:
        return {"headGroupSpec": {"headService": {"spec": {"type": "LoadBalancer", **service}}}}

    off = {"enabled": False}
    for spec in (
        head(),
        {"headGroupSpec": {"serviceType": "LoadBalancer"}},
        head(loadBalancerSourceRanges=["0.0.0.0/1", "128.0.0.0/1"]),
        head(loadBalancerSourceRanges=["everyone"]),
    ):
        text = found(networkPolicy=off, spec=spec)
        assert "headService: a load balancer without TLS for everyone" in text
        assert "allow: [open-network]" in text
        assert found(networkPolicy=off, spec=spec, allow=["open-network"]) == ""
        assert found(spec=spec) == ""  # the NetworkPolicy names who can connect
    assert found(networkPolicy=off, spec=head(loadBalancerSourceRanges=["10.0.0.0/8"])) == ""


def test_an_ingress_of_the_operator_has_no_tls() -> None:
    spec = {"headGroupSpec": {"enableIngress": True}}
    controller = {"allowFrom": [{"namespaceSelector": {"matchLabels": {"a": "b"}}}]}
    for policy in ({"enabled": False}, controller):
        assert "enableIngress: has no TLS" in found(networkPolicy=policy, spec=spec)
        assert found(networkPolicy=policy, spec=spec, allow=["open-network"]) == ""


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
