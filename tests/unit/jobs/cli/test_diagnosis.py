"""`check` and `why`: the keys of their JSON, and their first lines of text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from jobs.cli.main import cli
from jobs.errors import Refused
from tests.support.http_server import JsonHandler, serve
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


class Prometheus(JsonHandler):
    """One alert of a Ray cluster fires."""

    def do_GET(self) -> None:
        labels = {"alertname": "RayHeadDown", "ray_io_cluster": "ray", "namespace": "n", "severity": "critical"}
        annotations = {"summary": "The head does not answer.", "runbook": "rayjobs check"}
        self.answer({"status": "success", "data": {"alerts": [{"labels": labels, "annotations": annotations,
                    "state": "firing", "activeAt": "2026-11-27T16:40:05.1Z"}]}})  # fmt: skip


def test_why_ends_with_the_alerts_that_fire_and_what_helps(url: str, tmp_path: Path) -> None:
    with serve(Prometheus) as prometheus:
        text = run(tmp_path, "why", "--address", url, "--prometheus", prometheus)
        found = run(tmp_path, "why", "--address", url, "--prometheus", prometheus, "--output", "json")
    lines = text.stdout.splitlines()
    assert text.exit_code == 0
    assert lines[0].startswith("alert:    RayHeadDown (critical) of n/ray since 2026-11-2")
    assert lines[0].endswith("): The head does not answer.")
    assert lines[1] == "          -> rayjobs check"
    [finding, _unread] = json.loads(found.stdout)["findings"]
    assert (finding["kind"], finding["do"]) == ("alert", "rayjobs check")
    assert lines[0] == f"alert:    {finding['text']}"


def test_a_prometheus_that_does_not_answer_changes_neither_the_answer_nor_the_exit_code(
    url: str, tmp_path: Path
) -> None:
    text = run(tmp_path, "why", "--address", url, "--prometheus", "http://127.0.0.1:9")
    lines = text.stdout.splitlines()
    assert (text.exit_code, lines[0]) == (0, "No problems found.")
    assert "not read: alerts: Could not connect to http://127.0.0.1:9: nothing listens there" in lines[-2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--prometheus", "prometheus:9090"), "--prometheus must be an http or https URL, such as http://prometheus."),
        (("--prometheus", "http://me:hunter2@prometheus"), "--prometheus must have no user, password, query"),
        (("--local", "--prometheus", "http://prometheus"), "--prometheus has no effect with --local."),
    ],
    ids=["no scheme", "a password", "a local Ray"],
)
def test_a_prometheus_that_cannot_be_asked_is_refused_without_its_password(
    tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    refused = run(tmp_path, "why", *words)
    assert isinstance(refused.exception, Refused)
    assert said in str(refused.exception)
    assert "hunter2" not in refused.output + str(refused.exception)
