"""`why`: what it concludes from evidence, and what it finds on a real Ray head."""

from __future__ import annotations

from pathlib import Path

from tests.support.command import Cli, wait_until


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
