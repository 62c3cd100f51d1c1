"""Manifests against what the pinned version can do."""

from __future__ import annotations

import pytest

from tests.support.trees import VERSIONS
from tests.unit.components.checked import check, problem

# What v0.3.0 lacks, switched off in writing.
OFF = {"auth": "disabled", "autoscaling": {"enabled": False}, "readiness": "state"}


@pytest.mark.parametrize("version", VERSIONS[1:])
def test_the_defaults_are_accepted(version: str) -> None:
    assert check(version)


def test_a_default_that_the_version_lacks_is_an_error_with_version_and_feature() -> None:
    text = problem("v0.3.0")
    for words in ("spec.authOptions", "auth: disabled", "autoscaling.version: v1", "readiness: state", "'replicas'"):
        assert words in text
    assert "KubeRay v0.3.0" in text


def test_v0_3_0_is_accepted_with_what_it_lacks_switched_off_in_writing() -> None:
    (manifest,) = check("v0.3.0", **OFF)
    assert manifest["apiVersion"] == "ray.io/v1alpha1"


def test_fault_tolerance_without_an_end_to_its_clean_up_has_to_be_written() -> None:
    trial = {"redis": {"inCluster": True}}
    assert "faultTolerance.deletionTimeoutSeconds: 0" in problem("v1.6.2", faultTolerance=trial)
    assert check("v1.6.2", faultTolerance={**trial, "deletionTimeoutSeconds": 0})
