"""Quantities and worker groups."""

from __future__ import annotations

import pytest

from jobs.diagnose.resources import groups_of, quantity
from tests.unit.jobs.diagnose.cluster_objects import GROUP, pod, ray_cluster


@pytest.mark.parametrize(
    ("text", "number"), [("500m", 0.5), ("1Gi", 2**30), ("2", 2), ("1e3", 1000), ("3k", 3000), ("?", 0)]
)
def test_kubernetes_quantities_are_read(text: str, number: float) -> None:
    assert quantity(text) == number


def test_a_groups_node_is_what_ray_will_say_it_has() -> None:
    gpu = {
        **GROUP,
        "groupName": "gpu",
        "rayStartParams": {"num-cpus": "0", "resources": '"{\\"spot\\": 2}"'},
        "template": {"spec": {"containers": [{"resources": {"limits": {"cpu": "8", "nvidia.com/gpu": "4"}}}]}},
    }
    small, large = groups_of(ray_cluster(GROUP, gpu), [pod("w")])
    assert (small.each["CPU"], small.running, small.most) == (2, 1, 3)
    assert (large.each["CPU"], large.each["GPU"], large.each["spot"]) == (0, 4, 2)
