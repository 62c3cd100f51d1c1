"""Whether the stack's pods fit into the quotas and limits of their namespaces."""

from __future__ import annotations

from typing import Any

import pytest

from components.checks.rayclusters import build_and_check
from components.errors import StackError
from components.manifests import quota
from components.settings import parse
from tests.support.trees import tree


def guarded(**namespace: Any) -> str:
    settings = parse({"namespaces": {"ray-cluster": namespace}})
    with pytest.raises(StackError) as caught:
        build_and_check(settings, tree("v1.7.0"))
    return str(caught.value)


def test_a_quota_counts_the_autoscalers_sidecar() -> None:
    # Head 1, autoscaler 0.5, one worker 1.
    assert "requests.cpu 2 is less than the pods there request at the start (2.5, sidecars included)" in guarded(
        quota={"cpu": 2}
    )
    settings = parse({"namespaces": {"ray-cluster": {"quota": {"cpu": "2500m", "pods": 2}}}})
    assert build_and_check(settings, tree("v1.7.0"))


def test_a_container_limit_below_what_a_cluster_has_is_refused() -> None:
    text = guarded(limits={"max": {"memory": "256Mi"}})
    assert "container autoscaler" in text
    assert "container ray-head" in text


def operators_quota(**raw: Any) -> dict[str, str]:
    settings = parse({"namespaces": {"ray-system": {"quota": "fit"}}, **raw})
    (resource_quota,) = quota.objects(settings, build_and_check(settings, tree("v1.7.0")), "ray-system")
    hard: dict[str, str] = resource_quota["spec"]["hard"]
    return hard


def test_a_fitting_quota_counts_the_operator_where_it_runs() -> None:
    assert operators_quota() == {"requests.cpu": "100m", "requests.memory": "512Mi", "pods": "1"}
    assert operators_quota(kuberay={"resources": {"cpu": 1, "requests": {"cpu": "50m"}}})["requests.cpu"] == "50m"
    sized = operators_quota(kuberay={"resources": {"cpu": 1}}, clusters=[{"namespace": "ray-system"}])
    # Head 1, autoscaler 0.5, ten workers of 1, the operator 1.
    assert (sized["requests.cpu"], sized["pods"]) == ("12500m", "12")


def test_guards_that_keep_the_operator_from_running_are_refused() -> None:
    guarded = {"quota": {"cpu": "10m"}, "limits": {"max": {"memory": "100Mi"}}}
    settings = parse({"namespaces": {"ray-system": guarded}})
    with pytest.raises(StackError, match=r"requests.cpu 10m is less.*0.1") as caught:
        build_and_check(settings, tree("v1.7.0"))
    assert "100Mi is less than the 512Mi of container kuberay-operator" in str(caught.value)


def test_a_template_with_any_kubernetes_quantity_is_counted_in_a_quota() -> None:
    side = {"name": "side", "image": "s:1", "resources": {"requests": {"cpu": "1e3", "memory": "1E"}}}
    raw = {
        "namespaces": {"ray-cluster": {"quota": {"cpu": 100}}},
        "clusters": [{"head": {"podTemplate": {"spec": {"containers": [side]}}}}],
    }
    with pytest.raises(StackError, match=r"1002\.5, sidecars included"):
        build_and_check(parse(raw), tree("v1.7.0"))


def test_a_quota_or_limit_that_keeps_the_keeper_from_running_is_refused() -> None:
    resources = {"cpu": 2, "memory": "40Gi", "requests": {"cpu": 2, "memory": "1Gi"}}
    keeper = {"image": "r.example/rayjobs:0.1.0", "resources": resources}
    guarded = {"quota": {"cpu": 3}, "limits": {"max": {"memory": "32Gi"}}}
    settings = parse({"namespaces": {"ray-cluster": guarded}, "clusters": [{"keeper": keeper}]})
    with pytest.raises(StackError) as caught:
        build_and_check(settings, tree("v1.7.0"))
    # Head 1, autoscaler 0.5, one worker 1, the keeper 2.
    assert "requests.cpu 3 is less than the pods there request at the start (4.5, sidecars included)" in str(
        caught.value
    )
    assert "32Gi is less than the 40Gi of container keeper of raycluster-autoscaler" in str(caught.value)
