"""`make test` says of each tier that it left out what is missing."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ops import engine, test
from single_node.errors import NotPossible
from single_node.node import until
from tests.support import builds, tiers


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


def test_a_person_who_refuses_the_packages_has_the_fast_tiers_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        raise NotPossible("Packages are missing. Install them: apt-get install etcd-server")

    monkeypatch.setitem(tiers.TIERS, "cluster", tiers.Tier("tests/cluster", lambda: None))
    monkeypatch.setattr(builds, "problems", list)
    monkeypatch.setattr(builds, "missing_packages", lambda: ["etcd-server"])
    monkeypatch.setattr(builds, "install_packages", refuse)
    assert test.run(["unit", "cluster"], ["--collect-only", "-q", "-k", "the_unit_tier_runs_everywhere"]) == 0
    said = capsys.readouterr().out
    assert "unit     passed" in said
    assert "cluster  left out       0 s  Packages are missing. Install them: apt-get install etcd-server" in said


def test_what_is_built_beside_the_fast_tiers_ends_with_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_E2E_CACHE", str(tmp_path))
    monkeypatch.setattr(builds, "problems", list)
    monkeypatch.setattr(builds, "missing_packages", list)
    build = tmp_path / "python"
    build.write_text("#!/bin/sh\necho building\necho $$ > pid\nsleep 600 & wait\n")
    build.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(build))
    monkeypatch.chdir(tmp_path)
    with builds.builds_beside(["e2e"]):
        file = tmp_path / "pid"
        until(lambda: file.exists() and file.read_text().endswith("\n"), "the build", 10)
        pid = int(file.read_text())
    assert (tmp_path / "builds.log").read_text() == "building\n"
    until(lambda: not group_members(pid), "the end of its processes", 10)


def group_members(pid: int) -> list[str]:
    done = subprocess.run(["ps", "-o", "pid,stat", "--no-headers", "-g", str(pid)], capture_output=True, text=True)
    return [line for line in done.stdout.splitlines() if " Z" not in line]
