"""What the digest of a job covers."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.spec.job_spec import JobSpec


@pytest.mark.parametrize(
    "other",
    [
        {"metadata": {"team": "search"}},
        {"entrypoint_num_cpus": 2},
        {"entrypoint_memory": 1024},
        {"entrypoint_resources": {"tpu": 1}},
        {"entrypoint_label_selector": {"zone": "a"}},
        {"runtime_env": {"env_vars": {"A": "b"}}},
    ],
)
def test_whatever_decides_what_runs_is_part_of_the_digest(other: dict[str, Any]) -> None:
    assert JobSpec("true", **other).digest != JobSpec("true").digest
