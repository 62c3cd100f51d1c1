"""Manifests against what the pinned version can do."""

from __future__ import annotations

import pytest

from components.settings.versions import TOKEN_AUTH_KUBERAY, at_least
from tests.support.trees import VERSIONS
from tests.unit.components.checked import check, problem

# What v0.3.0 lacks, switched off in writing.
OFF = {"auth": "disabled", "autoscaling": {"enabled": False}, "readiness": "state"}


WITH_TOKENS = [version for version in VERSIONS if at_least(version, TOKEN_AUTH_KUBERAY)]


@pytest.mark.parametrize("version", WITH_TOKENS)
def test_the_defaults_are_accepted(version: str) -> None:
    assert check(version)


@pytest.mark.parametrize("version", ["v1.4.0", "v1.5.0"])
def test_before_token_authentication_everything_else_is_accepted(version: str) -> None:
    assert "to deploy without it set `auth: disabled`" in problem(version)
    assert check(version, auth="disabled")


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
