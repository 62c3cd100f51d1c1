"""What a pod's status says of its containers and its node."""

from __future__ import annotations

from typing import Any

from jobs.kubernetes.pod_problems import STUCK_REASONS, Container, Ended, containers, unschedulable


def test_containers_are_read_with_init_containers_first() -> None:
    crashed = {"exitCode": 137, "reason": "OOMKilled"}
    status: dict[str, Any] = {
        "initContainerStatuses": [{"name": "wait", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}],
        "containerStatuses": [
            {
                "name": "ray-head",
                "image": "ray:1",
                "restartCount": 2,
                "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}},
                "lastState": {"terminated": crashed},
            },
            {"name": "autoscaler", "ready": True, "state": {"running": {}}},
        ],
    }
    wait, head, autoscaler = containers({"status": status})
    assert (wait.name, wait.ended, wait.last_ended) == ("wait", Ended(0, "Completed"), None)
    assert head == Container(
        name="ray-head",
        image="ray:1",
        running=False,
        ready=False,
        restarts=2,
        waiting_reason="CrashLoopBackOff",
        waiting_message="back-off 10s",
        ended=None,
        last_ended=Ended(137, "OOMKilled"),
    )
    assert head.waiting_reason in STUCK_REASONS
    assert (autoscaler.running, autoscaler.ready) == (True, True)


def test_a_pod_without_a_status_has_no_problem() -> None:
    assert containers({}) == []
    assert unschedulable({}) is None


def test_the_scheduler_says_why_no_node_can_take_a_pod() -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
    assert unschedulable({"status": {"conditions": [condition]}}) == ("Unschedulable", "0/1 nodes")
    assert unschedulable({"status": {"conditions": [{**condition, "status": "True"}]}}) is None
