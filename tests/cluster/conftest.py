"""Fixtures on a real Kubernetes. tests/support/cluster.py chooses the cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, ClusterUnavailableError, use_cluster
from tests.support.ray_head import RayHead, run_ray_head


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The time limit does not include fixtures: the first start builds Kubernetes, which takes minutes."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.kubernetes)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(300, func_only=True))
    # These start and stop the single node themselves, so they run before the others share one.
    items.sort(key=lambda item: item.path != Path(__file__).with_name("test_single_node.py"))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A Kubernetes for the whole session."""
    try:
        with use_cluster() as running:
            yield running
    except ClusterUnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def ray_head(cluster: Cluster) -> Iterator[RayHead]:
    """A ready Ray head behind the operator's service name, in a namespace of its own, for one test module."""
    with run_ray_head(cluster) as head:
        yield head
