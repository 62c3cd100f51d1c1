"""What `why` concludes from evidence."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from jobs.diagnose.evidence import Evidence, Gap
from jobs.diagnose.finding import CAUSE, CLUE, UNREAD, Finding
from jobs.diagnose.why import explain
from jobs.errors import NotAllowed, Unreachable
from jobs.spec.job_info import RESOURCES_KEY, JobInfo
from tests.unit.jobs.diagnose.cluster_objects import GROUP, pod, ray_cluster


def job(status: str, **changes: Any) -> JobInfo:
    return JobInfo("a", status, start_time=int(time.time() * 1000), **changes)


def pending(resources: dict[str, Any], **changes: Any) -> JobInfo:
    return job("PENDING", metadata={RESOURCES_KEY: json.dumps(resources)}, **changes)


def node(**resources: float) -> dict[str, Any]:
    return {"state": "ALIVE", "resources_total": resources, "labels": {"ray.io/node-id": "n"}}


def waiting(container: str, reason: str, message: str = "", image: str = "img", **more: Any) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"name": container, "image": image, "ready": False, "restartCount": 1, "state": state, **more}


def evidence(**found: Any) -> Evidence:
    base: dict[str, Any] = {
        "submission_id": "a", "ray_reached": True, "nodes": [node(memory=1e9)], "cluster": "ray", "namespace": "ns",
        "kube_read": True, "ray_cluster": ray_cluster(), "pods": [pod("ray-head", head=True, phase="Running")],
    }  # fmt: skip
    return Evidence(**{**base, **found})


def causes(found: Evidence) -> str:
    return "\n".join(f"{each.text} -> {each.remedy}" for each in explain(found) if each.kind == CAUSE)


def event(name: str, reason: str, message: str, kind: str = "Warning", at: str = "") -> dict[str, Any]:
    stamp = at or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    about = {"kind": "RayCluster", "name": name}
    return {
        "type": kind,
        "reason": reason,
        "message": message,
        "involvedObject": about,
        "lastTimestamp": stamp,
        "metadata": {},
    }


HEAD = pod("ray-head", head=True, phase="Running")


QUOTA = (
    'pods "ray-small-group-worker-x" is forbidden: exceeded quota: team, requested: limits.cpu=1, '
    "used: limits.cpu=4, limited: limits.cpu=4"
)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"job": pending({"num_gpus": 1})}, "no worker group has such nodes: it can never start"),
        ({"job": pending({"num_cpus": 64})}, "64 CPU (no node has any)"),
        (
            {"job": pending({"num_cpus": 2}), "pods": [HEAD, *(pod(f"w{i}", phase="Running") for i in range(3))]},
            r"small-group is large enough, and it is at its maximum (3 of 3)",
        ),
        (
            {"job": pending({"num_cpus": 1}), "nodes": [node(CPU=2)], "jobs": [JobInfo("other", "RUNNING")]},
            "there are large enough nodes, but they are busy. Running now: other",
        ),
        (
            {"job": pending({"num_cpus": 1}), "ray_cluster": ray_cluster({**GROUP, "suspend": True})},
            "it is suspended",
        ),
        (
            {"job": pending({"num_cpus": 1, "label_selector": {"zone": "a"}})},
            "No node has the label zone=a",
        ),
        (
            {
                "job": job(
                    "PENDING",
                    message="It may be waiting for the runtime environment to be set up.",
                    runtime_env={"pip": ["torch"]},
                )
            },
            "runtime environment is being set up on the node (it installs packages",
        ),
        (
            {
                "job": job(
                    "FAILED",
                    error_type="RUNTIME_ENV_SETUP_FAILURE",
                    message="x\nERROR: No matching distribution found for nope\n",
                )
            },
            "No matching distribution",
        ),
        ({"job": job("FAILED", error_type="JOB_ENTRYPOINT_COMMAND_ERROR", driver_exit_code=137)}, "SIGKILL"),
        ({"job": job("FAILED", error_type="JOB_ENTRYPOINT_COMMAND_ERROR", driver_exit_code=127)}, "was not found"),
        (
            {
                "job": job(
                    "FAILED",
                    error_type="JOB_ENTRYPOINT_COMMAND_ERROR",
                    driver_exit_code=1,
                    message="Traceback:\nModuleNotFoundError: No module named 'torch'\n",
                )
            },
            "module 'torch'",
        ),
        (
            {
                "job": job(
                    "FAILED",
                    error_type="JOB_ENTRYPOINT_COMMAND_ERROR",
                    driver_exit_code=1,
                    message="Traceback:\n  File x\nValueError: lr must be positive\nbye",
                )
            },
            "ValueError: lr must be",
        ),
        ({"job": job("FAILED", error_type="JOB_SUPERVISOR_ACTOR_DIED", message="The node died.")}, "--retries"),
        (
            {
                "job": job(
                    "FAILED",
                    error_type="JOB_SUPERVISOR_ACTOR_START_FAILURE",
                    message="Failed to start supervisor actor a: 'x'. Trace:\nTraceback (most recent call last):\n"
                    '  File "a.py", line 1, in submit_job\n    raise ValueError()\nValueError: GPU is no resource\n',
                )
            },
            "Ray refused its runtime_env or its resources: GPU is no resource",
        ),
        ({"job": None}, "never accepted it"),
        ({"job": None, "in_ledger": "RUNNING"}, "the server lost it"),
        ({"job": None, "in_ledger": "DELETED"}, "It was deleted"),
        (
            {
                "job": pending({"num_cpus": 1}),
                "pods": [
                    HEAD,
                    pod(
                        "w",
                        conditions=[
                            {
                                "type": "PodScheduled",
                                "status": "False",
                                "message": "0/1 nodes: 1 Insufficient nvidia.com/gpu.",
                            }
                        ],
                    ),
                ],
            },
            "Worker pod w cannot be scheduled: 0/1 nodes: 1 Insufficient nvidia.com/gpu.",
        ),
        (
            {
                "job": pending({"num_cpus": 1}),
                "pods": [
                    HEAD,
                    pod(
                        "w",
                        containerStatuses=[waiting("ray-worker", "ImagePullBackOff", "not found", "example.org/ray:1")],
                    ),
                ],
            },
            "the image example.org/ray:1 of container ray-worker cannot be pulled (ImagePullBackOff): not found",
        ),
        (
            {
                "job": pending({"num_cpus": 1}),
                "pods": [
                    HEAD,
                    pod(
                        "w",
                        containerStatuses=[
                            waiting(
                                "ray-worker",
                                "CrashLoopBackOff",
                                lastState={"terminated": {"reason": "Error", "exitCode": 3}},
                            )
                        ],
                    ),
                ],
            },
            "ray-worker keeps exiting (Error, exit code 3). -> kubectl logs -n ns w -c ray-worker --previous",
        ),
        (
            {
                "job": job("FAILED", error_type="JOB_SUPERVISOR_ACTOR_DIED"),
                "pods": [
                    pod(
                        "h",
                        head=True,
                        containerStatuses=[
                            {
                                "name": "ray-head",
                                "ready": True,
                                "restartCount": 2,
                                "state": {"running": {}},
                                "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}},
                            }
                        ],
                    )
                ],
            },
            "Head pod h: container ray-head was killed because it used more memory than its limit (2 restarts)",
        ),
        (
            {
                "job": pending({"num_cpus": 1}),
                "pods": [
                    HEAD,
                    pod(
                        "w",
                        containerStatuses=[waiting("ray-worker", "CreateContainerConfigError", 'secret "s" not found')],
                    ),
                ],
            },
            'cannot be created (CreateContainerConfigError): secret "s" not found',
        ),
        (
            {
                "job": pending({"num_cpus": 1}),
                "pods": [HEAD, pod("w", phase="Failed", reason="Evicted", message="low on memory")],
            },
            "Worker pod w failed: Evicted low on memory",
        ),
        (
            {"job": pending({"num_cpus": 1}), "events": [event("ray", "FailedToCreateWorkerPod", QUOTA)]},
            "The quota team of namespace ns does not allow another pod: it requests limits.cpu=1",
        ),
        (
            {
                "job": pending({"num_cpus": 1}),
                "ray_cluster": ray_cluster(
                    conditions=[
                        {
                            "type": "ReplicaFailure",
                            "status": "True",
                            "reason": "FailedCreateWorkerPod",
                            "message": f"FailedCreateWorkerPod\n{QUOTA}",
                        }
                    ]
                ),
            },
            "The quota team of namespace ns",
        ),
        (
            {"submission_id": None, "pods": [], "ray_cluster": {**ray_cluster(), "spec": {"suspend": True}}},
            "is suspended",
        ),
        ({"submission_id": None, "ray_cluster": ray_cluster(observedGeneration=0)}, "operator has not acted"),
        ({"submission_id": None, "pods": []}, "has no head pod"),
        (
            {
                "submission_id": None,
                "pods": [],
                "ray_cluster": None,
                "gaps": [Gap("the RayCluster", "the Kubernetes API has no rayclusters/ray.")],
            },
            "There is no RayCluster ns/ray",
        ),
        (
            {"ray_reached": False, "ray_error": NotAllowed("HTTP 401: the token is not accepted.")},
            "does not accept this user",
        ),
        ({"ray_reached": False, "ray_error": Unreachable("no head pod")}, "Could not connect to Ray: no head pod"),
        ({"job": pending({"num_cpus": 1}), "autoscaler_error": "Traceback\nValueError: bad config"}, "bad config"),
    ],
)
def test_the_cause_is_named(found: dict[str, Any], said: str) -> None:
    assert said in causes(evidence(**found))


def test_a_demand_that_a_new_node_would_meet_is_no_cause_by_itself() -> None:
    found = explain(evidence(job=pending({"num_cpus": 2})))
    assert [each.kind for each in found if "worker group small-group" in each.text] == [CLUE]


def test_what_is_wrong_with_the_cluster_now_does_not_explain_a_program_that_failed_by_itself() -> None:
    sick = [HEAD, pod("w", containerStatuses=[waiting("ray-worker", "ImagePullBackOff")])]
    failed = job("FAILED", error_type="JOB_ENTRYPOINT_COMMAND_ERROR", driver_exit_code=1, message="ValueError: x")
    found = explain(evidence(job=failed, pods=sick))
    assert [each.text for each in found if each.kind == CAUSE] == ["Its program failed: ValueError: x"]
    assert any("cannot be pulled" in each.text for each in found if each.kind == CLUE)


def test_a_running_job_whose_tasks_wait_names_them_and_their_demand() -> None:
    tasks = [{"name": "f", "job_id": "02", "required_resources": {"GPU": 2.0}}] * 3
    tasks.append({"name": "g", "job_id": "other", "required_resources": {"GPU": 9.0}})
    said = causes(evidence(job=job("RUNNING", job_id="02"), tasks=tasks))
    assert "Each of 3 tasks or actors of the job (f) needs 2 GPU" in said
    assert "9 GPU" not in said


def test_events_of_others_and_old_ones_are_not_blamed() -> None:
    events = [
        event("another", "FailedToCreateWorkerPod", QUOTA),
        event("ray", "FailedToCreateWorkerPod", QUOTA, at="2020-01-01T00:00:00Z"),
        event("ray", "FailedToCreateWorkerPod", QUOTA, kind="Normal"),
    ]
    assert "quota" not in causes(evidence(job=pending({"num_cpus": 1}), events=events))


def test_what_may_not_be_read_is_said_with_the_role_that_allows_it() -> None:
    found = explain(evidence(job=job("RUNNING"), gaps=[Gap("events", "RBAC: events in namespace ns", False)]))
    unread = [each for each in found if each.kind == UNREAD]
    assert unread == [
        Finding(
            UNREAD, "events: RBAC: events in namespace ns", "docs/jobs-rbac.yaml contains the Role that is required"
        )
    ]


def test_another_ray_version_than_the_stacks_is_said() -> None:
    found = explain(evidence(job=job("RUNNING"), expected_version="2.60.0", ray_version="2.54.0"))
    assert any("has Ray 2.60.0, the server runs 2.54.0" in each.text for each in found)


def test_a_job_that_succeeded_has_no_cause() -> None:
    found = explain(evidence(job=job("SUCCEEDED"), pods=[]))
    assert found[0].text == "Job a ended with SUCCEEDED."
    assert [each for each in found if each.kind == CAUSE] == []
