"""Who asks the Ray clusters for jobs: a preview does, unless it is told not to; `running` does nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from ops import changes, engine, preview, running, running_jobs
from ops.errors import OpsError

CONTRACT: dict[str, Any] = {"clusters": []}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked: the stack's outputs, and the Ray clusters for their jobs."""
    asked: list[str] = []

    def outputs(stack: str) -> dict[str, Any]:
        asked.append("outputs")
        return {"contract": CONTRACT}

    monkeypatch.setattr(changes, "observe", lambda arguments, stack: (0, []))
    monkeypatch.setattr(engine, "stack_outputs", outputs)
    monkeypatch.setattr(running_jobs, "report", lambda contract: asked.append("jobs"))
    return asked


def test_a_preview_lists_the_running_jobs(asked: list[str]) -> None:
    assert CliRunner().invoke(preview.preview_command, ["--stack", "dev"]).exit_code == 0
    assert asked == ["outputs", "jobs"]


def test_a_preview_of_unreviewed_code_asks_for_nothing_that_takes_the_rights_of_a_job_user(asked: list[str]) -> None:
    assert CliRunner().invoke(preview.preview_command, ["--stack", "dev", "--no-running-jobs"]).exit_code == 0
    assert asked == []


def test_running_lists_the_running_jobs_without_a_preview(asked: list[str]) -> None:
    assert CliRunner().invoke(running.running_command, ["--stack", "dev"]).exit_code == 0
    assert asked == ["outputs", "jobs"]


def test_a_stack_that_was_never_deployed_has_no_running_jobs(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "stack_outputs", lambda stack: {})
    done = CliRunner().invoke(running.running_command, ["--stack", "dev"])
    assert isinstance(done.exception, OpsError)
    assert "no outputs yet" in str(done.exception)
