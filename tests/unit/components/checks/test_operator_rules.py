"""Manifests against the operator's own rules."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.components.checked import check, problem


def test_a_gated_field_needs_its_gate() -> None:
    spec = {"networkPolicy": {"mode": "DenyAll"}}
    assert "--feature-gates=RayClusterNetworkPolicy=true" in problem(spec=spec)
    assert check(kuberay={"args": ["--feature-gates=RayClusterNetworkPolicy=true"]}, spec=spec)


def worker(**fields: Any) -> dict[str, Any]:
    return {"workerGroupSpecs": [{"groupName": "small-group", **fields}]}


def sized(container: str, **requests: str) -> dict[str, Any]:
    return worker(template={"spec": {"containers": [{"name": container, "resources": {"requests": requests}}]}})


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (worker(replicas=3), "small-group].replicas"),
        (worker(minReplicas=20), "minReplicas 20, maxReplicas 10"),
        (worker(resources={"CPU": "1"}, rayStartParams={"num-cpus": "1"}), "num-cpus"),
        (
            worker(resources={"cpu": "1"}),
            "small-group].resources.cpu: the autoscaler reads it as a resource of your own",
        ),
        (worker(resources={"CPU": "1", "disk": "many"}), "small-group].resources.disk: many"),
        (worker(rayStartParams={"labels": "x"}), "rayStartParams.labels"),
        (worker(rayStartParams={"num-cpus": "500m"}), 'small-group].rayStartParams.num-cpus: "500m"'),
        (
            worker(rayStartParams={"object-store-memory": "4000000000"}),
            "above the memory limit; allowed: less than 1Gi",
        ),
        ({"headGroupSpec": {"rayStartParams": {"dashboard-port": "9999"}}}, "headGroupSpec.rayStartParams.dashboard"),
        (worker(template={"spec": {"restartPolicy": "Always"}}), "restartPolicy Always"),
        (worker(suspend=True), "small-group].suspend"),
        (worker(template={"spec": {"containers": [{"name": "ray-worker", "resources": None}]}}), "no CPU figure"),
        (worker(labels={"a b": "c"}), "labels: a b: c"),
        (worker(template={"spec": None}), "small-group].template: no container"),
        (sized("ray-worker", cpu="1e999"), "resources.requests.cpu: 1e999"),
        (sized("ray-worker", cpu="1e3"), "resources.requests.cpu: above the limit; allowed: up to 1"),
        ({"headGroupSpec": {"template": {"spec": None}}}, "headGroupSpec.template: no container"),
        (
            {"autoscalerOptions": {"env": [{"name": "KUBERAY_GEN_AUTOSCALER_START_CMD", "value": "x"}]}},
            "belongs to the operator",
        ),
        ({"gcsFaultToleranceOptions": {"backend": "rocksdb"}}, "--feature-gates=GCSFaultToleranceEmbeddedStorage=true"),
        ({"headGroupSpec": {"rayStartParams": {"redis-username": "x"}}}, "redis-username"),
    ],
)
def test_what_the_operator_would_refuse_is_refused_first(spec: dict[str, Any], words: str) -> None:
    assert words in problem(spec=spec)


def test_a_head_without_a_port_named_dashboard_is_refused() -> None:
    template = {"spec": {"containers": [{"name": "ray-head", "ports": [{"name": "web", "containerPort": 8265}]}]}}
    assert "none named dashboard" in problem(head={"podTemplate": template})


def test_a_named_port_of_the_head_that_leads_nowhere_is_refused() -> None:
    def of(**port: Any) -> dict[str, Any]:
        return {"podTemplate": {"spec": {"containers": [{"name": "ray-head", "ports": [port]}]}}}

    assert "port dashboard of the first container: 9999" in problem(head=of(name="dashboard", containerPort=9999))
    assert check(head=of(name="serve", containerPort=8001))


def test_the_head_service_has_the_name_that_the_outputs_export() -> None:
    def of(name: str) -> dict[str, Any]:
        return {"headGroupSpec": {"headService": {"metadata": {"name": name}}}}

    assert "headService.metadata.name: ray: the Ingress and the outputs" in problem(spec=of("ray"))
    assert check(spec=of("raycluster-autoscaler-head-svc"))


def test_the_autoscaler_version_is_said_in_one_place() -> None:
    assert "RAY_enable_autoscaler_v2" in problem(head={"env": {"RAY_enable_autoscaler_v2": "1"}})


TRIAL = {"redis": {"inCluster": True}}
K8S_AUTH = {"authOptions": {"enableK8sTokenAuth": True}}


@pytest.mark.parametrize(
    ("cluster", "words"),
    [
        ({"head": {"env": {"REDIS_USERNAME": "x"}}}, "env REDIS_USERNAME is set"),
        ({"annotations": {"ray.io/external-storage-namespace": "x"}, "faultTolerance": TRIAL}, "external-storage"),
        ({"faultTolerance": TRIAL, "spec": {"gcsFaultToleranceOptions": {"backend": "rocksdb"}}}, "with a Redis"),
        ({"auth": {"secretName": "x"}, "spec": K8S_AUTH}, "without `auth.secretName`"),
        ({"auth": "disabled", "spec": K8S_AUTH}, "allowed with `auth: token`"),
        ({"rayVersion": "2.54.0", "spec": K8S_AUTH}, "needs Ray 2.55.0"),
        (
            {"autoscaling": {"resources": {"cpu": "100m", "requests": {"cpu": 1}}}},
            "autoscalerOptions: resources.requests",
        ),
    ],
)
def test_settings_that_the_operator_would_refuse_together_are_refused_first(
    cluster: dict[str, Any], words: str
) -> None:
    assert words in problem(**cluster)
