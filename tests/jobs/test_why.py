"""`why`: what it concludes from evidence, and what it finds on a real Ray head."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.jobs.conftest import Head, new_id
from tests.support.command import Cli, wait_until
from tests.support.http_server import JsonHandler, serve


def why(cli: Cli, *arguments: str) -> tuple[int, str]:
    done = cli("why", *arguments)
    return done.returncode, (done.stdout + done.stderr).decode()


def submit(cli: Cli, *arguments: str) -> str:
    return cli("submit", "--no-wait", *arguments).stdout.decode().strip()


def test_a_job_that_asks_for_more_than_any_node_has_is_explained(cli: Cli) -> None:
    submission_id = submit(cli, "--entrypoint-num-cpus", "640", "--", "true")
    wait_until(lambda: "640 CPU (the largest node has 4)" in why(cli, submission_id)[1])
    code, said = why(cli, submission_id, "--output", "json")
    assert code == 0
    assert "pods, events and quotas" in said
    cli("stop", "--no-wait", submission_id)


def test_a_running_job_whose_task_can_never_run_is_explained(cli: Cli) -> None:
    script = "import ray; ray.init()\n@ray.remote(num_gpus=2)\ndef train(): pass\nray.get(train.remote())"
    submission_id = submit(cli, "--", "python", "-c", script)
    wait_until(lambda: "of the job (train) needs 2 GPU (no node has any)" in why(cli, submission_id)[1], 60)
    cli("stop", "--no-wait", submission_id)


def test_a_job_whose_module_is_missing_is_explained(cli: Cli) -> None:
    submission_id = submit(cli, "--", "python", "-c", "import not_there_at_all")
    cli("wait", submission_id)
    assert "does not have the Python module 'not_there_at_all'" in why(cli, submission_id)[1]


def test_the_exception_of_a_task_is_named_with_the_users_own_frame(cli: Cli, tmp_path: Path) -> None:
    """Ray's message of the job has its last ten lines only."""
    (tmp_path / "train.py").write_text(
        "import atexit\nimport ray\nray.init()\natexit.register(print, *['end'] * 30, sep='\\n')\n"
        "@ray.remote(max_retries=0)\ndef grow():\n    raise ray.exceptions.OutOfMemoryError(\n"
        "        'Task was killed due to the node running low on memory.')\nray.get(grow.remote())\n"
    )
    submission_id = submit(cli, "--working-dir", str(tmp_path), "--", "python", "train.py")
    cli("wait", submission_id)
    said = why(cli, submission_id)[1]
    assert "ran out of memory" in said
    assert "train.py, line " in said


def test_a_runtime_env_that_only_the_server_can_refuse_is_not_tried_again_and_explained(cli: Cli) -> None:
    """Only the node knows its conda environments, so the client does not check the path."""
    done = cli(
        "submit", "--retries", "2", "--output", "json", "--runtime-env-json", '{"conda": "/not/there"}', "--", "true"
    )
    assert done.returncode == 1, done.stderr
    job = json.loads(done.stdout)
    assert job["error_type"] == "JOB_SUPERVISOR_ACTOR_START_FAILURE"
    assert b"Trying again" not in done.stderr
    said = why(cli, job["submission_id"])[1]
    assert "Ray refused its runtime_env or its resources: Can't find conda env directory /not/there." in said
    assert "memory" not in said


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"runtime_env": {"env_vars": {"A": 1}}}, "the value 1 is of type <class 'int'>"),
        ({"runtime_env": {"pip": ["a"], "uv": ["b"]}}, "cannot be specified at the same time"),
        ({"runtime_env": {"working_dir": "s3://bucket/dir"}}, "files are supported for working_dir URIs"),
        ({"entrypoint_resources": {"CPU": 1}}, "Use the 'num_cpus' and 'num_gpus' keyword"),
        ({"entrypoint_num_gpus": 1.5}, "must', ' be whole numbers"),
    ],
    ids=str,
)
def test_what_another_client_sent_and_ray_refused_is_explained(
    cli: Cli, head: Head, fields: dict[str, Any], reason: str
) -> None:
    """The client refuses these itself, see tests/unit/jobs/cli/test_runtime_env.py."""
    submission_id = new_id()
    response = httpx.post(
        f"{head.url}/api/jobs/",
        headers={"Authorization": f"Bearer {head.token}"},
        json={"entrypoint": "true", "submission_id": submission_id, **fields},
        timeout=30,
        trust_env=False,
    )
    assert response.is_success
    cli("wait", submission_id)
    said = why(cli, submission_id)[1]
    assert "Ray refused its runtime_env or its resources" in said, said
    assert reason in said
    assert "memory" not in said


def test_an_unknown_job_is_exit_code_2_and_one_the_server_lost_is_not(cli: Cli) -> None:
    assert why(cli, "never-there")[0] == 2
    submission_id = submit(cli, "--", "true")
    cli("wait", submission_id)
    from jobs.ledger.records import Origin, Place
    from jobs.ledger.store import Ledger
    from jobs.spec.job_spec import JobSpec

    ledger = Ledger(Path(cli.environ["HOME"], ".local/state/rayjobs/ledger.sqlite"))
    ledger.record_submission("gone", JobSpec("true"), Place(cli.address, "address"), Origin())
    ledger.record_status("gone", cli.address, "RUNNING")
    code, said = why(cli, "gone")
    assert code == 0
    assert "-> python -m jobs rerun gone" in said


def test_a_wrong_token_is_the_answer_and_exit_code_6(cli: Cli, tmp_path: Path) -> None:
    wrong = tmp_path / "token"
    wrong.write_text("0" * 64)
    done = cli("why", "x", RAY_AUTH_TOKEN_PATH=str(wrong))
    assert done.returncode == 6
    assert b"does not accept this user" in done.stdout
    assert b"0" * 64 not in done.stdout + done.stderr


def test_the_alerts_of_a_prometheus_come_after_what_ray_says_of_the_job(cli: Cli) -> None:
    class Prometheus(JsonHandler):
        def do_GET(self) -> None:
            labels = {"alertname": "RayWorkersMissing", "ray_io_cluster": "ray", "namespace": "n"}
            annotations = {"summary": "Workers are missing.", "runbook": "rayjobs why"}
            alert = {"labels": labels, "annotations": annotations, "state": "firing"}
            got_token = "Bearer" in str(self.headers)
            self.answer({"status": "success", "data": {"alerts": [alert]}}, 403 if got_token else 200)

    submission_id = submit(cli, "--", "not-a-command")
    cli("wait", submission_id)
    with serve(Prometheus) as url:
        code, said = why(cli, submission_id, "--prometheus", url)
    assert code == 0
    found = [line.partition(" ")[0] for line in said.splitlines() if not line.startswith(" ")]
    assert found == ["Job", "cause:", "alert:", "not"]
    assert "alert:    RayWorkersMissing of n/ray: Workers are missing.\n          -> rayjobs why\n" in said
