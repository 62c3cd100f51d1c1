"""`check` and `why`: the keys of their JSON, and their first lines of text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from jobs.cli.main import cli
from tests.support.proxy import Faults, Proxy, answer

JOBS = [{"submission_id": f"j{i}", "status": status, "type": "SUBMISSION"} for i, status in enumerate(["FAILED", "X"])]


@pytest.fixture
def url() -> Iterator[str]:
    """A Jobs API with two jobs, one of which has not ended, and one node."""
    nodes = {"data": {"result": {"result": [{"state": "ALIVE", "resources_total": {"CPU": 4}}]}}}

    def body(line: str) -> bytes:
        path = line.split()[1]
        if path.startswith("/api/version"):
            return answer(200, json.dumps({"version": "4", "ray_version": "2.60.0", "session_name": "s"}))
        return answer(200, json.dumps(JOBS if path == "/api/jobs/" else nodes))

    with Proxy("127.0.0.1", 9) as running:
        running.faults = Faults(instead=body)
        yield running.url


def run(tmp_path: Path, *words: str) -> Result:
    environ = {"HOME": str(tmp_path), "RAYJOBS_LEDGER": str(tmp_path / "ledger"), "RAY_AUTH_TOKEN": "x"}
    return CliRunner(env=environ).invoke(cli, words)


def test_check_says_that_jobs_can_run(url: str, tmp_path: Path) -> None:
    text = run(tmp_path, "check", "--address", url)
    assert (text.exit_code, text.stdout.splitlines()) == (
        0,
        [
            "ok      api        The Jobs API answers (Ray 2.60.0).",
            "ok      token      The token works. 2 jobs, 1 running or pending.",
            "ok      ray        1 node; CPU: 4",
        ],
    )
    findings = json.loads(run(tmp_path, "check", "--address", url, "--output", "json").stdout)
    assert [list(finding) for finding in findings] == [["step", "state", "text", "remedy", "exit_code", "data"]] * 3
    assert findings[2]["data"] == {"resources": {"CPU": 4}, "nodes": 1}


def test_why_without_a_job_finds_no_problems(url: str, tmp_path: Path) -> None:
    text = run(tmp_path, "why", "--address", url)
    assert (text.exit_code, text.stdout.splitlines()[0]) == (0, "No problems found.")
    answered = json.loads(run(tmp_path, "why", "--address", url, "--output", "json").stdout)
    assert list(answered) == ["submission_id", "findings"]
    assert {tuple(finding) for finding in answered["findings"]} == {("kind", "text", "do")}
