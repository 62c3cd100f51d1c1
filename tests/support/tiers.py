"""The tiers of tests, from fast to real, and what a machine needs for each."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass

from single_node import requirements
from single_node.programs.go import go_problem
from tests.support.capabilities import engine_problem, operator_versions


def jobs_needs() -> str | None:
    """What the jobs tier lacks here; None: nothing."""
    return None if importlib.util.find_spec("ray") else "the package ray is not installed (requirements.lock has it)"


def cluster_needs() -> str | None:
    """What the cluster tier lacks here. With TEST_CLUSTER it is never left out: without that cluster its tests fail."""
    if os.environ.get("TEST_CLUSTER"):
        return None
    missing = [*requirements.problems(), *filter(None, [requirements.packages_problem()])]
    if missing:
        return f"TEST_CLUSTER is not set, and the native cluster cannot run here: {'; '.join(missing)}"
    return None


def e2e_needs() -> str | None:
    """What the end-to-end tier lacks here."""
    if reason := engine_problem() or cluster_needs():
        return reason
    if os.environ.get("TEST_CLUSTER", "native") == "native" and not operator_versions() and (problem := go_problem()):
        return f"the single node has no image of the operator, and none can be built: {problem}"
    return None


@dataclass(frozen=True)
class Tier:
    """`needs` returns what the tier lacks on this machine, or None; `options` are pytest's."""

    folder: str
    needs: Callable[[], str | None]
    options: tuple[str, ...] = ()


TIERS = {
    # Only these tests share nothing: the others have one Ray head or one Kubernetes.
    "unit": Tier("tests/unit", lambda: None, ("-n", "auto")),
    "jobs": Tier("tests/jobs", jobs_needs),
    "cluster": Tier("tests/cluster", cluster_needs),
    "e2e": Tier("tests/e2e", e2e_needs),
}
