"""Why a RayCluster is not ready, from what the API server shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from components.cluster.context import connect
from components.hooks.progress import (
    PATIENCE_POLLS,
    POLL_SECONDS,
    ClusterView,
    ReadinessReporter,
    ReadinessWatch,
    reasons,
    unacknowledged,
)
from tests.support.api_server import api_server

RAY = {"metadata": {"name": "ray", "namespace": "ns", "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {}}
MANIFEST = {"apiVersion": "ray.io/v1", **RAY}
RAYCLUSTERS = "/apis/ray.io/v1/namespaces/ns/rayclusters"


def pod(name: str = "ray-head-x", node_type: str = "head", **status: Any) -> dict[str, Any]:
    labels = {"ray.io/cluster": "ray", "ray.io/node-type": node_type, "ray.io/group": "small-group"}
    return {"metadata": {"name": name, "namespace": "ns", "labels": labels}, "status": status}


def container(state: dict[str, Any], name: str = "ray-head", **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": "r.example/ray:2.60.0", "state": state, **fields}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


def event(reason: str, message: str, about: str = "ray") -> dict[str, Any]:
    return {
        "type": "Warning",
        "reason": reason,
        "message": message,
        "involvedObject": {"kind": "RayCluster", "name": about},
    }


def test_an_image_that_cannot_be_pulled_is_named() -> None:
    state = waiting("ImagePullBackOff", 'Back-off pulling image "r.example/ray:2.60.0"')
    (reason,) = reasons([pod(containerStatuses=[container(state)])], [], RAY)
    assert reason == 'head pod, container ray-head: ImagePullBackOff: Back-off pulling image "r.example/ray:2.60.0"'


def test_an_image_without_a_message_is_still_named() -> None:
    (reason,) = reasons([pod(containerStatuses=[container(waiting("ErrImagePull"))])], [], RAY)
    assert "r.example/ray:2.60.0" in reason


def test_a_pod_that_no_node_takes_says_what_is_missing() -> None:
    unschedulable = {"type": "PodScheduled", "status": "False", "message": "0/1 nodes: 1 Insufficient nvidia.com/gpu"}
    (reason,) = reasons([pod("w", "worker", conditions=[unschedulable])], [], RAY)
    assert reason == "worker pod of small-group: no node can take it: 0/1 nodes: 1 Insufficient nvidia.com/gpu"


def test_a_crash_says_its_exit_code_and_where_the_logs_are() -> None:
    crashed = container(waiting("CrashLoopBackOff"), lastState={"terminated": {"exitCode": 137, "reason": "OOMKilled"}})
    text = "\n".join(reasons([pod(containerStatuses=[crashed])], [], RAY))
    assert "CrashLoopBackOff" in text
    assert "137 (OOMKilled)" in text
    assert "kubectl logs -n ns -l ray.io/cluster=ray,ray.io/node-type=head,ray.io/group=small-group -c ray-head" in text


def test_a_head_that_crashes_again_and_again_is_one_reason() -> None:
    ended = container({"terminated": {"exitCode": 1, "reason": "Error"}})
    assert len(reasons([pod(f"ray-head-{i}", containerStatuses=[ended]) for i in range(3)], [], RAY)) == 1


def test_an_old_event_of_a_pod_that_runs_is_no_reason() -> None:
    failed = {**event("FailedMount", "timed out", about="ray-head-x"), "involvedObject": {"name": "ray-head-x"}}
    assert reasons([pod(containerStatuses=[container({"running": {}})])], [failed], RAY) == []
    assert reasons([pod(containerStatuses=[container(waiting("ContainerCreating"))])], [failed], RAY) != []


def test_a_spec_that_the_operator_rejects_is_told_from_its_event() -> None:
    (reason,) = reasons([], [event("InvalidRayClusterSpec", "num-cpus twice")], RAY)
    assert reason == "RayCluster ray: InvalidRayClusterSpec: num-cpus twice"


def test_a_quota_that_is_used_up_is_told_from_its_event() -> None:
    (reason,) = reasons([], [event("FailedToCreateHeadPod", 'pods "x" is forbidden: exceeded quota')], RAY)
    assert "exceeded quota" in reason


def test_events_of_other_objects_are_not_ours() -> None:
    assert reasons([], [event("FailedCreate", "x", about="somebody-else")], RAY) == []


def test_many_pods_with_one_trouble_are_one_reason() -> None:
    pods = [
        pod(f"w{i}", "worker", containerStatuses=[container(waiting("ErrImagePull", "no such image"))])
        for i in range(5)
    ]
    assert len(reasons(pods, [], RAY)) == 1


def test_a_healthy_cluster_gives_no_reason() -> None:
    assert reasons([pod(containerStatuses=[container({"running": {}})])], [], RAY) == []


def test_each_reason_is_told_once_and_only_when_it_lasts(tmp_path: Path) -> None:
    stuck = pod(containerStatuses=[container(waiting("ImagePullBackOff", "gone"))])
    objects = {RAYCLUSTERS: {"items": [RAY]}, "/api/v1/namespaces/ns/pods": {"items": [stuck]}}
    told: list[str] = []
    with api_server(tmp_path, objects) as config:
        api = connect(str(config), "").api
        watching = ReadinessReporter(api, MANIFEST, told.append, lambda: False)
        watching.poll(ClusterView(api, "nowhere"))
        assert told == []
        for _ in range(PATIENCE_POLLS + 3):
            watching.poll(ClusterView(api, "nowhere"))
    assert told == ["head pod, container ray-head: ImagePullBackOff: gone"]


def test_an_operator_that_does_not_take_up_a_change_is_told_from_the_generations() -> None:
    changed = {**RAY, "metadata": {**RAY["metadata"], "generation": 3}}
    behind = {**changed, "status": {"state": "ready", "observedGeneration": 2}}
    (reason,) = reasons([], [], behind, operator=False)
    assert "the operator has not taken up the last change" in reason
    assert len(reasons([], [], changed, operator=False)) == 1
    assert reasons([], [], behind) == []
    assert reasons([], [], {**changed, "status": {"state": "ready", "observedGeneration": 3}}, operator=False) == []


def test_an_operator_too_old_to_tell_generations_is_not_blamed() -> None:
    changed = {**RAY, "metadata": {**RAY["metadata"], "generation": 3}}
    assert reasons([], [], {**changed, "status": {"state": "ready"}}, operator=False) == []


OPERATOR = {
    "/apis/apps/v1/namespaces/ray-system/deployments/kuberay-operator": {
        "metadata": {"name": "kuberay-operator", "namespace": "ray-system"},
        "status": {"availableReplicas": 1},
    }
}


def test_a_raycluster_that_an_available_operator_does_not_look_at_is_told_within_a_minute(tmp_path: Path) -> None:
    told: list[str] = []
    with api_server(tmp_path, {RAYCLUSTERS: {"items": [RAY]}, **OPERATOR}) as config:
        api = connect(str(config), "").api
        watching = ReadinessReporter(api, MANIFEST, told.append, lambda: False)
        for _ in range(int(60 / POLL_SECONDS)):
            watching.poll(ClusterView(api, "ray-system"))
    assert len(told) == 1
    assert "Does it watch namespace ns?" in told[0]


@pytest.mark.parametrize("restarts", [True, False])
def test_a_generation_is_written_for_the_operator_only_where_no_pod_restarts(
    restarts: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meta = {**RAY["metadata"], "generation": 3}
    behind = {**RAY, "metadata": meta, "status": {"observedGeneration": 2, "conditions": READY}}
    written: list[Any] = []
    with api_server(tmp_path, {RAYCLUSTERS: {"items": [behind]}, **OPERATOR}) as config:
        api = connect(str(config), "").api
        ask = api.call

        def call(method: str, where: str, **named: Any) -> Any:
            return written.append((where, named["body"])) if method == "PATCH" else ask(method, where, **named)

        monkeypatch.setattr(api, "call", call)
        watching = ReadinessReporter(api, MANIFEST, lambda _: None, lambda: restarts)
        for _ in range(5):
            watching.poll(ClusterView(api, "ray-system"))
    assert written == ([] if restarts else [(f"{RAYCLUSTERS}/ray/status", {"status": {"observedGeneration": 3}})])


READY = [{"type": kind, "status": "True"} for kind in ("HeadPodReady", "RayClusterProvisioned")]


def test_a_generation_that_the_operator_left_behind_is_found_only_while_the_cluster_is_as_it_should_be() -> None:
    changed = {**RAY, "metadata": {**RAY["metadata"], "generation": 3}, "spec": {}}
    assert unacknowledged({**changed, "status": {"observedGeneration": 2, "conditions": READY}}) == 3
    assert unacknowledged({**changed, "status": {"observedGeneration": 2, "conditions": READY[:1]}}) is None
    assert unacknowledged({**changed, "status": {"observedGeneration": 3, "conditions": READY}}) is None
    suspended = {"observedGeneration": 2, "conditions": [{"type": "RayClusterSuspended", "status": "True"}]}
    assert unacknowledged({**changed, "spec": {"suspend": True}, "status": suspended}) == 3
    assert unacknowledged({**changed, "status": suspended}) is None


def test_many_rayclusters_of_a_namespace_cost_the_requests_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clusters = [{**RAY, "metadata": {**RAY["metadata"], "name": f"ray-{number}"}} for number in range(20)]
    asked: list[str] = []
    with api_server(tmp_path, {RAYCLUSTERS: {"items": clusters}, **OPERATOR}) as config:
        api = connect(str(config), "").api
        ask = api.call
        monkeypatch.setattr(api, "call", lambda method, path, **named: asked.append(path) or ask(method, path, **named))
        watch = ReadinessWatch(api, "ray-system")
        reporters = [
            ReadinessReporter(api, {"apiVersion": "ray.io/v1", **each}, lambda _: None, lambda: False)
            for each in clusters
        ]
        watch.poll(reporters[:1])
        of_one, asked[:] = list(asked), []
        watch.poll(reporters)
    assert asked == of_one
    assert RAYCLUSTERS in asked


def test_a_server_that_does_not_answer_is_asked_once_and_told_for_each_raycluster(tmp_path: Path) -> None:
    told: list[str] = []
    with api_server(tmp_path, {}) as config:
        api = connect(str(config), "").api
    watch = ReadinessWatch(api, "ray-system")
    reporters = [ReadinessReporter(api, MANIFEST, told.append, lambda: False) for _ in range(3)]
    for _ in range(PATIENCE_POLLS):
        watch.poll(reporters)
    assert len(told) == 3
    assert all("`up` continues once it answers" in text for text in told)
