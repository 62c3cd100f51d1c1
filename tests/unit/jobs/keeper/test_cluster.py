"""The live cluster as the page shows it, from what Ray and Kubernetes answer."""

from __future__ import annotations

from jobs.diagnose.evidence import Evidence, Gap
from jobs.errors import Unreachable
from jobs.keeper.cluster import cluster_state
from jobs.keeper.web.cluster_view import ClusterEvent, Demand, Head, WorkerGroup
from jobs.spec.job_info import JobInfo
from tests.unit.jobs.diagnose.cluster_objects import GROUP, pod, ray_cluster

STARTED = "2026-11-27T20:00:00Z"
SECONDS = 1_795_809_600.0


def evidence(**fields: object) -> Evidence:
    found = Evidence(None, cluster="ray", namespace="ns", ray_version="2.60.0", ray_reached=True, kube_read=True)
    for name, value in fields.items():
        setattr(found, name, value)
    return found


def event(name: str, reason: str, **fields: str) -> dict[str, object]:
    about = {"kind": "Pod", "name": name}
    return {"metadata": {"name": "e"}, "involvedObject": about, "reason": reason, "lastTimestamp": STARTED, **fields}


def test_the_head_is_its_pod_with_the_version_that_answers() -> None:
    head = pod("ray-head", head=True, phase="Running", podIP="10.0.0.7", startTime=STARTED)
    assert cluster_state(evidence(pods=[head]), "ns/ray").head == Head("Running", "10.0.0.7", "2.60.0", SECONDS)


def test_a_head_that_crashes_is_named_by_its_reason() -> None:
    waiting = {"name": "ray-head", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    head = pod("ray-head", head=True, phase="Running", containerStatuses=[waiting])
    found = cluster_state(evidence(pods=[head]), "ns/ray").head
    assert found is not None
    assert "CrashLoopBackOff" in found.state


def test_without_kubernetes_the_head_is_the_node_that_ray_knows() -> None:
    node = {"node_id": "n", "state": "ALIVE", "is_head_node": True, "node_ip": "10.0.0.7", "start_time_ms": 5000}
    assert cluster_state(evidence(nodes=[node]), "x").head == Head("Running", "10.0.0.7", "2.60.0", 5.0)
    assert cluster_state(evidence(), "x").head == Head("Running", "", "2.60.0")
    assert cluster_state(evidence(ray_version=None), "x").head is None


def test_worker_groups_have_their_least_present_and_most_pods() -> None:
    suspended = {**GROUP, "groupName": "idle", "suspend": True, "minReplicas": 1}
    found = evidence(ray_cluster=ray_cluster(GROUP, suspended), pods=[pod("w1"), pod("w2")])
    assert cluster_state(found, "x").groups == (
        WorkerGroup("small-group", 0, 2, 3, "2 CPU, 1.4 GiB memory"),
        WorkerGroup("idle", 1, 0, 3, "2 CPU, 1.4 GiB memory, suspended"),
    )


def test_demand_is_counted_by_resources_and_names_its_jobs() -> None:
    tasks = [{"name": "train", "job_id": "01", "required_resources": {"GPU": 1.0}}] * 3
    actors = [{"class_name": "Server", "required_resources": {"CPU": 2.0, "GPU": 1.0}}, {"name": "no resources"}]
    jobs = [JobInfo("raysubmit_1", "RUNNING", job_id="01")]
    assert cluster_state(evidence(tasks=tasks, actors=actors, jobs=jobs), "x").demand == (
        Demand("1 GPU", 3, "train in raysubmit_1"),
        Demand("2 CPU, 1 GPU", 1, "Server"),
    )


def test_events_are_those_of_the_cluster_and_its_pods_newest_first() -> None:
    events = [
        event("ray-worker-1", "Pulling", message="Pulling image x", type="Normal"),
        event("other", "Failed", type="Warning"),
        event("ray", "FailedCreate", message="quota", type="Warning", lastTimestamp="2026-11-27T20:01:00Z"),
        {**event("ray-head", "NoTime"), "lastTimestamp": None},
    ]
    assert cluster_state(evidence(events=events), "x").events == (
        ClusterEvent(SECONDS + 60, "Pod ray: FailedCreate: quota", True),
        ClusterEvent(SECONDS, "Pod ray-worker-1: Pulling: Pulling image x", False),
    )


def test_what_could_not_be_read_is_said() -> None:
    found = evidence(ray_error=Unreachable("Ray is silent."), gaps=[Gap("pods", "not allowed", False)])
    assert cluster_state(found, "x").problem == "Ray is silent.\npods: not allowed"
