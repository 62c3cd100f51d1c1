"""Manifests against what the pinned version can do."""

from __future__ import annotations

from typing import Any

import pytest

from components.checks.rayclusters import build_and_check
from components.errors import StackError
from components.settings import parse
from components.settings.versions import TOKEN_AUTH_KUBERAY, at_least
from tests.support.command import ROOT
from tests.support.trees import VERSIONS, tree
from tests.unit.components import golden_cases
from tests.unit.components.checked import check, problem

# What v0.3.0 lacks, switched off in writing.
OFF = {"auth": "disabled", "autoscaling": {"enabled": False}, "readiness": "state"}


WITH_TOKENS = [version for version in VERSIONS if at_least(version, TOKEN_AUTH_KUBERAY)]


@pytest.mark.parametrize("version", WITH_TOKENS)
def test_the_defaults_are_accepted(version: str) -> None:
    assert check(version)


# A setting of each row of the table in docs/configuration.md, and what has to be off where it is not looked at.
IN_THE_TABLE: dict[str, dict[str, Any]] = {
    "`auth: token`, the default": {"auth": "token"},
    "`rayLabels`": {"head": {"rayLabels": {"tier": "a"}}},
    "`rayResources`": {"workerGroups": {"w": {"rayResources": {"disk": 1}}}},
    "`upgradeStrategy`": {"upgradeStrategy": "Recreate"},
    "`faultTolerance.deletionTimeoutSeconds`": {
        "faultTolerance": {"redis": {"inCluster": True}, "deletionTimeoutSeconds": 60}
    },
    "`priority` of a worker group": {"workerGroups": {"w": {"priority": 1}}},
}


def _table() -> tuple[list[str], dict[str, list[str]]]:
    """The versions, and for each row of the table its answers."""
    text = (ROOT / "docs" / "configuration.md").read_text().partition("### What does an older KubeRay lack?")[2]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    rows = rows[: 2 + len(IN_THE_TABLE)]
    return rows[0][1:], {row[0]: row[1:] for row in rows[2:]}


@pytest.mark.parametrize("version", VERSIONS[1:])
def test_the_table_says_which_setting_a_version_lacks(version: str) -> None:
    versions, rows = _table()
    assert versions == list(VERSIONS[1:])
    assert list(rows) == list(IN_THE_TABLE)
    for row, settings in IN_THE_TABLE.items():
        settings = {"auth": "disabled", **settings}
        if rows[row][versions.index(version)] == "yes":
            assert check(version, **settings)
        else:
            assert f"KubeRay {version}" in problem(version, **settings)


# The fields of those settings.
FIELDS = ("spec.authOptions", ".labels:", ".resources:", "spec.upgradeStrategy", "clean-up of Redis", ".priority:")


def test_every_setting_that_is_not_in_the_table_is_accepted_by_the_oldest_version_in_it() -> None:
    version = VERSIONS[1]  # later ones have removed no field
    for name, config in golden_cases.CASES.items():
        settings = parse({**config, "kuberay": {**config.get("kuberay", {}), "version": version}})
        try:
            build_and_check(settings, tree(version))
        except StackError as refused:
            problems = [line for line in str(refused).splitlines() if "clusters[" in line]
            assert problems, name
            assert not [line for line in problems if not any(field in line for field in FIELDS)], name


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
