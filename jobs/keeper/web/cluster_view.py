"""What the page shows of the live cluster, and of the keeper itself. Whoever starts the page provides both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Head:
    """The head. `since` is when it started, in seconds since the epoch."""

    state: str
    address: str = ""
    ray_version: str = ""
    since: float | None = None


@dataclass(frozen=True)
class WorkerGroup:
    """A worker group: how many pods it may have and has."""

    name: str
    least: int
    now: int
    most: int
    each: str = ""


@dataclass(frozen=True)
class Demand:
    """Resources that wait, such as `2 CPU, 1 GPU`; for how many, and for which jobs or tasks."""

    resources: str
    number: int = 1
    waits_for: str = ""


@dataclass(frozen=True)
class ClusterEvent:
    """Something that happened in the cluster. `at` is in seconds since the epoch."""

    at: float
    text: str
    is_warning: bool = False


@dataclass(frozen=True)
class ClusterState:
    """The cluster as it was at `at`, in seconds since the epoch. `problem` says what could not be read."""

    name: str
    at: float
    head: Head | None = None
    groups: tuple[WorkerGroup, ...] = ()
    demand: tuple[Demand, ...] = ()
    events: tuple[ClusterEvent, ...] = ()
    problem: str = ""


class ClusterView(Protocol):
    """The live cluster. `state` answers at once, from what was read last, and does not raise."""

    def state(self) -> ClusterState: ...


@dataclass(frozen=True)
class KeeperState:
    """How the keeper itself is.

    Attributes:
        behind_seconds: How long ago the last answer of the Jobs API was recorded; None: never.
        problems: What does not work now, such as `The disk is full.`; empty: it keeps.
    """

    behind_seconds: float | None = None
    problems: tuple[str, ...] = ()
