"""Reads from the status of a pod why it does not run; pure.

The reasons are those of the kubelet (its pkg/kubelet/images and pkg/kubelet/kuberuntime) and of the scheduler. Each
caller has its own words for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Reasons of a waiting container that rarely pass without help.
IMAGE_REASONS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
)
CREATE_REASONS = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
CRASH_LOOP = "CrashLoopBackOff"
STUCK_REASONS = IMAGE_REASONS | CREATE_REASONS | {CRASH_LOOP}


@dataclass(frozen=True)
class Ended:
    """The end of a container. `reason`: such as `OOMKilled` or `Error`."""

    exit_code: int
    reason: str


@dataclass(frozen=True)
class Container:
    """The status of one container.

    Attributes:
        waiting_reason, waiting_message: why it waits; empty: it does not wait, or no reason is given.
        ended: how it ended; None: it has not ended.
        last_ended: how it ended before its last restart; None: it was not restarted.
    """

    name: str
    image: str
    running: bool
    ready: bool
    restarts: int
    waiting_reason: str
    waiting_message: str
    ended: Ended | None
    last_ended: Ended | None


def containers(pod: Mapping[str, Any]) -> list[Container]:
    """Returns the containers of a pod as far as the kubelet has reported them, init containers first."""
    status = pod.get("status") or {}
    statuses = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    return [_container(entry) for entry in statuses]


def _container(status: Mapping[str, Any]) -> Container:
    state = status.get("state") or {}
    waiting = state.get("waiting") or {}
    return Container(
        name=str(status["name"]),
        image=str(status.get("image") or ""),
        running=state.get("running") is not None,
        ready=bool(status.get("ready")),
        restarts=int(status.get("restartCount") or 0),
        waiting_reason=str(waiting.get("reason") or ""),
        waiting_message=str(waiting.get("message") or ""),
        ended=_ended(state),
        last_ended=_ended(status.get("lastState") or {}),
    )


def _ended(state: Mapping[str, Any]) -> Ended | None:
    terminated = state.get("terminated")
    if not terminated:
        return None
    return Ended(int(terminated.get("exitCode") or 0), str(terminated.get("reason") or ""))


def unschedulable(pod: Mapping[str, Any]) -> tuple[str, str] | None:
    """Returns reason and message of the scheduler if no node can take the pod; None if one can, or if it has not tried
    yet."""
    for condition in (pod.get("status") or {}).get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return str(condition.get("reason") or ""), str(condition.get("message") or "")
    return None
