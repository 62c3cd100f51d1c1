"""Manifests against the pinned version's CRD and the operator's own rules."""

from __future__ import annotations

from typing import Any

import pytest

from components.checks import manifests as checks
from components.errors import StackError
from components.manifests import quota as guards
from components.settings.load import parse
from tests.unit.components.trees import VERSIONS, tree

# What v0.3.0 lacks, switched off in writing.
OFF = {"auth": "disabled", "autoscaling": {"enabled": False}, "readiness": "state"}


def check(version: str = "v1.7.0", kuberay: dict[str, Any] | None = None, **cluster: Any) -> list[dict[str, Any]]:
    settings = parse({"kuberay": {"version": version, **(kuberay or {})}, "clusters": [cluster]})
    return checks.rayclusters(settings, tree(version))


def problem(version: str = "v1.7.0", **cluster: Any) -> str:
    with pytest.raises(StackError) as caught:
        check(version, **cluster)
    return str(caught.value)


@pytest.mark.parametrize("version", VERSIONS[1:])
def test_the_defaults_are_accepted(version: str) -> None:
    assert check(version)


def test_a_default_that_the_version_lacks_is_an_error_with_version_and_feature() -> None:
    text = problem("v0.3.0")
    for words in ("spec.authOptions", "auth: disabled", "autoscaling.version: v1", "readiness: state", "'replicas'"):
        assert words in text
    assert "KubeRay v0.3.0" in text


def test_v0_3_0_is_accepted_with_what_it_lacks_switched_off_in_writing() -> None:
    (manifest,) = check("v0.3.0", **OFF)
    assert manifest["apiVersion"] == "ray.io/v1alpha1"


def test_an_unknown_field_deep_in_a_pod_template_is_named() -> None:
    text = problem(workerGroups={"a": {"podTemplate": {"spec": {"tolerationz": []}}}})
    assert "spec.workerGroupSpecs[0].template.spec.tolerationz" in text


def test_a_wrong_type_is_named() -> None:
    assert "spec.headGroupSpec.enableIngress" in problem(spec={"headGroupSpec": {"enableIngress": "yes"}})


def test_a_value_of_an_environment_variable_is_shown_by_no_schema_error() -> None:
    container = {"name": "ray-head", "env": [{"name": "TOKEN", "value": 31415}]}
    text = problem(head={"podTemplate": {"spec": {"containers": [container]}}})
    assert "containers[0].env[0].value: (value not shown) type: string" in text
    assert "31415" not in text


def test_a_feature_of_a_newer_version_is_refused() -> None:
    assert "spec.networkPolicy" in problem("v1.6.2", spec={"networkPolicy": {"mode": "DenyAll"}})


def test_a_gated_field_needs_its_gate() -> None:
    spec = {"networkPolicy": {"mode": "DenyAll"}}
    assert "--feature-gates=RayClusterNetworkPolicy=true" in problem(spec=spec)
    assert check(kuberay={"args": ["--feature-gates=RayClusterNetworkPolicy=true"]}, spec=spec)


def guarded(**namespace: Any) -> str:
    settings = parse({"namespaces": {"ray-cluster": namespace}})
    with pytest.raises(StackError) as caught:
        checks.rayclusters(settings, tree("v1.7.0"))
    return str(caught.value)


def test_a_quota_counts_the_autoscalers_sidecar() -> None:
    # Head 1, autoscaler 0.5, one worker 1.
    assert "requests.cpu 2 is less than what runs there starts with (2.5, sidecars included)" in guarded(
        quota={"cpu": 2}
    )
    settings = parse({"namespaces": {"ray-cluster": {"quota": {"cpu": "2500m", "pods": 2}}}})
    assert checks.rayclusters(settings, tree("v1.7.0"))


def test_a_container_limit_below_what_a_cluster_has_is_refused() -> None:
    text = guarded(limits={"max": {"memory": "256Mi"}})
    assert "container autoscaler" in text
    assert "container ray-head" in text


def operators_quota(**raw: Any) -> dict[str, str]:
    settings = parse({"namespaces": {"ray-system": {"quota": "fit"}}, **raw})
    (quota,) = guards.objects(settings, checks.rayclusters(settings, tree("v1.7.0")), "ray-system")
    found: dict[str, str] = quota["spec"]["hard"]
    return found


def test_a_fitting_quota_counts_the_operator_where_it_runs() -> None:
    assert operators_quota() == {"requests.cpu": "100m", "requests.memory": "512Mi", "pods": "1"}
    sized = operators_quota(kuberay={"resources": {"cpu": 1}}, clusters=[{"namespace": "ray-system"}])
    # Head 1, autoscaler 0.5, ten workers of 1, the operator 1.
    assert (sized["requests.cpu"], sized["pods"]) == ("12500m", "12")


def test_guards_that_keep_the_operator_from_running_are_refused() -> None:
    guarded = {"quota": {"cpu": "10m"}, "limits": {"max": {"memory": "100Mi"}}}
    settings = parse({"namespaces": {"ray-system": guarded}})
    with pytest.raises(StackError, match=r"requests.cpu 10m is less.*0.1") as caught:
        checks.rayclusters(settings, tree("v1.7.0"))
    assert "100Mi is less than the 512Mi of container kuberay-operator" in str(caught.value)


def test_fault_tolerance_without_an_end_to_its_clean_up_has_to_be_written() -> None:
    trial = {"redis": {"inCluster": True}}
    assert "faultTolerance.deletionTimeoutSeconds: 0" in problem("v1.6.2", faultTolerance=trial)
    assert check("v1.6.2", faultTolerance={**trial, "deletionTimeoutSeconds": 0})


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
        (worker(rayStartParams={"labels": "x"}), "rayStartParams.labels"),
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
            "operator's own",
        ),
        ({"gcsFaultToleranceOptions": {"backend": "rocksdb"}}, "--feature-gates=GCSFaultToleranceEmbeddedStorage=true"),
        ({"headGroupSpec": {"rayStartParams": {"redis-username": "x"}}}, "redis-username"),
    ],
)
def test_what_the_operator_would_refuse_is_refused_first(spec: dict[str, Any], words: str) -> None:
    assert words in problem(spec=spec)


def test_a_head_without_a_port_named_dashboard_is_refused() -> None:
    template = {"spec": {"containers": [{"name": "ray-head", "ports": [{"name": "web", "containerPort": 8265}]}]}}
    assert "no port named dashboard" in problem(head={"podTemplate": template})


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


def test_a_template_with_any_kubernetes_quantity_is_counted_in_a_quota() -> None:
    side = {"name": "side", "image": "s:1", "resources": {"requests": {"cpu": "1e3", "memory": "1E"}}}
    raw = {
        "namespaces": {"ray-cluster": {"quota": {"cpu": 100}}},
        "clusters": [{"head": {"podTemplate": {"spec": {"containers": [side]}}}}],
    }
    with pytest.raises(StackError, match=r"1002\.5, sidecars included"):
        checks.rayclusters(parse(raw), tree("v1.7.0"))
