"""`make test` says of each tier that it left out what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops import engine, test
from tests.support import tiers


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing on PATH, no engine of the project's own, and nothing built in the cache."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RAY_E2E_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(engine, "OWN_INSTALLATION", tmp_path / "none")
    monkeypatch.delenv("TEST_CLUSTER", raising=False)
    monkeypatch.setenv("RAY_E2E_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("bare_machine")
def test_end_to_end_is_left_out_naming_the_engine() -> None:
    reason = str(tiers.e2e_needs())
    assert "Pulumi CLI is not on PATH" in reason
    assert "cannot be built from Go modules: the command `go` is missing" in reason


@pytest.mark.usefixtures("bare_machine")
def test_the_cluster_tier_is_left_out_naming_what_is_missing() -> None:
    reason = str(tiers.cluster_needs())
    assert reason.startswith("TEST_CLUSTER is not set, and the native cluster cannot run here: ")
    assert "missing" in reason or "root" in reason


@pytest.mark.usefixtures("bare_machine")
def test_a_cluster_that_was_asked_for_is_never_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_CLUSTER", "kind")
    assert tiers.cluster_needs() is None


def test_the_unit_tier_runs_everywhere() -> None:
    assert tiers.TIERS["unit"].needs() is None


def test_every_tier_has_its_folder() -> None:
    assert [tier.folder for tier in tiers.TIERS.values() if not (engine.ROOT / tier.folder).is_dir()] == []


@pytest.mark.usefixtures("bare_machine")
def test_the_summary_says_what_was_left_out_and_why_without_failing(capsys: pytest.CaptureFixture[str]) -> None:
    assert test.run(["e2e"], []) == 0
    said = capsys.readouterr().out
    assert "e2e      left out" in said
    assert "Pulumi CLI is not on PATH" in said
    assert said.strip().endswith("failed: none; left out: e2e")
