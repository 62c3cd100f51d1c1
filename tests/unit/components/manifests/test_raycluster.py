"""Settings to RayCluster manifest."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from components.manifests.pods import TOKEN_MOUNT, TOKEN_VOLUME
from components.manifests.raycluster import DELETION_ANNOTATION, GCS_PATIENCE, WAIT_ANNOTATION, manifest
from components.settings import parse
from tests.support.trees import tree


def made(kuberay: str = "v1.7.0", **cluster: Any) -> dict[str, Any]:
    (settings,) = parse({"clusters": [cluster]}).clusters
    return manifest(settings, kuberay)


def group(spec: dict[str, Any], index: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = spec["spec"]["workerGroupSpecs"][index]
    return found


def container(group: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = group["template"]["spec"]["containers"][0]
    return found


def waits(**cluster: Any) -> list[str]:
    found: list[str] = json.loads(made(**cluster)["metadata"]["annotations"][WAIT_ANNOTATION])
    return found


def test_defaults_are_upstreams_autoscaling_sample_but_for_what_is_decided_otherwise() -> None:
    sample = tree("v1.7.0") / "ray-operator/config/samples/ray-cluster.autoscaler.yaml"
    if not sample.is_file():
        pytest.skip("upstream's sample is not part of a fetched tree")
    upstream = next(iter(yaml.safe_load_all(sample.read_text())))["spec"]
    # Decided otherwise: Ray's version, at least one worker, autoscaler v2, token authentication, a ServiceAccount
    # whose token the autoscaler alone gets; no `replicas`, which it owns; no ConfigMap of example scripts;
    # an autoscaler that ends with its head.
    upstream["rayVersion"] = "2.60.0"
    upstream["authOptions"] = {"mode": "token"}
    upstream["autoscalerOptions"]["version"] = "v2"
    for empty in ("securityContext", "env", "envFrom"):
        assert not upstream["autoscalerOptions"].pop(empty)
    upstream["autoscalerOptions"]["env"] = [{"name": GCS_PATIENCE, "value": "5"}]
    upstream["autoscalerOptions"]["volumeMounts"] = [TOKEN_MOUNT]
    head, worker = upstream["headGroupSpec"], upstream["workerGroupSpecs"][0]
    container(head).pop("volumeMounts")
    head["template"]["spec"]["volumes"] = [TOKEN_VOLUME]
    worker["minReplicas"] = 1
    worker.pop("replicas")
    for one in (head, worker):
        container(one)["image"] = "rayproject/ray:2.60.0"
        one["template"]["spec"]["serviceAccountName"] = "raycluster-autoscaler-ray"
        one["template"]["spec"]["automountServiceAccountToken"] = False
    assert made()["spec"] == upstream


def test_the_token_is_where_an_autoscaler_can_read_it_in_every_version() -> None:
    for version, mounted, volumes in (("v1.7.0", False, [TOKEN_VOLUME]), ("v0.6.0", True, None)):
        spec = made(version, autoscaling={"version": "v1"})["spec"]["headGroupSpec"]["template"]["spec"]
        assert (spec["automountServiceAccountToken"], spec.get("volumes")) == (mounted, volumes)
    off = made(autoscaling={"enabled": False})["spec"]["headGroupSpec"]["template"]["spec"]
    assert (off["automountServiceAccountToken"], off.get("volumes")) == (False, None)


def test_the_autoscaler_ends_soon_after_its_head_unless_the_settings_say_when() -> None:
    env = made(autoscaling={"env": {GCS_PATIENCE: "60", "OWN": "1"}})["spec"]["autoscalerOptions"]["env"]
    assert env == [{"name": GCS_PATIENCE, "value": "60"}, {"name": "OWN", "value": "1"}]


def test_a_destroy_waits_for_the_pods_of_a_cluster_that_has_some() -> None:
    assert DELETION_ANNOTATION not in made()["metadata"]["annotations"]
    assert made(suspend=True)["metadata"]["annotations"][DELETION_ANNOTATION] == "background"


def test_replicas_are_never_declared_while_autoscaling_is_on() -> None:
    assert "replicas" not in group(made())


def test_replicas_are_always_declared_while_autoscaling_is_off() -> None:
    off = {"enabled": False}
    assert group(made(autoscaling=off))["replicas"] == 1
    assert group(made(autoscaling=off, workerGroups={"a": {"replicas": 4}}))["replicas"] == 4
    assert "autoscalerOptions" not in made(autoscaling=off)["spec"]


def test_an_update_takes_the_worker_list_from_the_autoscaler() -> None:
    assert made()["metadata"]["annotations"]["pulumi.com/patchForce"] == "true"


def test_ready_means_that_head_and_first_workers_were_there() -> None:
    assert waits() == ["condition=HeadPodReady", "condition=RayClusterProvisioned"]


def test_a_suspended_cluster_is_ready_when_suspended() -> None:
    assert waits(suspend=True) == ["condition=RayClusterSuspended"]
    assert made(suspend=True)["spec"]["suspend"] is True


def test_a_version_without_conditions_is_ready_by_its_state() -> None:
    assert waits(readiness="state") == ["jsonpath={.status.state}=ready"]


def test_memory_of_workers_is_requested_as_it_is_limited() -> None:
    sizes = container(group(made(workerGroups={"a": {"memory": "7Gi", "requests": {"cpu": "100m"}}})))["resources"]
    assert sizes["limits"]["memory"] == sizes["requests"]["memory"] == "7Gi"
    assert (sizes["limits"]["cpu"], sizes["requests"]["cpu"]) == ("1", "100m")


def test_old_versions_get_their_own_api_version() -> None:
    assert made("v0.3.0")["apiVersion"] == "ray.io/v1alpha1"
    assert made("v1.0.0")["apiVersion"] == "ray.io/v1"


def test_autoscaler_v1_needs_no_saying_where_there_is_no_other() -> None:
    v1 = {"version": "v1"}
    assert "version" not in made("v0.3.0", autoscaling=v1)["spec"]["autoscalerOptions"]
    assert made("v1.7.0", autoscaling=v1)["spec"]["autoscalerOptions"]["version"] == "v1"


def test_the_heads_zero_cpus_are_said_where_its_resources_are() -> None:
    head = made(head={"rayResources": {"disk": 4}})["spec"]["headGroupSpec"]
    assert head["resources"] == {"CPU": "0", "disk": "4"}
    assert "num-cpus" not in head["rayStartParams"]
    assert made(head={"rayStartParams": {"num-cpus": 2}})["spec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "2"


def test_pod_settings_end_in_the_pod_template() -> None:
    worker = group(
        made(
            workerGroups={
                "gpu": {
                    "gpu": 2,
                    "ephemeralStorage": "20Gi",
                    "env": {"A": 1, "B": {"secret": "s", "key": "k"}},
                    "envFromSecrets": ["all"],
                    "nodeSelector": {"pool": "gpu"},
                    "tolerations": [{"key": "gpu", "operator": "Exists"}],
                    "imagePullSecrets": ["pull"],
                    "volumes": [{"name": "data", "emptyDir": {}}],
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                    "priorityClassName": "high",
                    "labels": {"team": "a"},
                    "idleTimeoutSeconds": 30,
                    "priority": 5,
                }
            }
        )
    )
    pod, ray = worker["template"]["spec"], container(worker)
    assert ray["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert ray["resources"]["limits"]["ephemeral-storage"] == "20Gi"
    assert ray["env"] == [
        {"name": "A", "value": "1"},
        {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
    ]
    assert ray["envFrom"] == [{"secretRef": {"name": "all"}}]
    assert ray["volumeMounts"] == [{"name": "data", "mountPath": "/data"}]
    assert pod["nodeSelector"] == {"pool": "gpu"}
    assert pod["imagePullSecrets"] == [{"name": "pull"}]
    assert pod["priorityClassName"] == "high"
    assert worker["template"]["metadata"]["labels"] == {"team": "a"}
    assert (worker["idleTimeoutSeconds"], worker["priority"]) == (30, 5)


def test_the_escape_hatch_is_laid_over_the_finished_spec() -> None:
    spec = made(
        spec={
            "headServiceAnnotations": {"a": "b"},
            "workerGroupSpecs": [{"groupName": "small-group", "maxReplicas": 99}],
        }
    )
    assert spec["spec"]["headServiceAnnotations"] == {"a": "b"}
    assert group(spec)["maxReplicas"] == 99
    assert container(group(spec))["name"] == "ray-worker"


def test_a_pod_template_override_merges_with_the_rest() -> None:
    over = {"spec": {"containers": [{"name": "ray-worker", "lifecycle": {}}, {"name": "sidecar", "image": "s"}]}}
    worker = group(made(workerGroups={"a": {"podTemplate": over}}))
    assert [one["name"] for one in worker["template"]["spec"]["containers"]] == ["ray-worker", "sidecar"]
    assert container(worker)["image"] == "rayproject/ray:2.60.0"
