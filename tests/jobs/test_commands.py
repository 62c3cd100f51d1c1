"""Every command against a real head, as a person types it."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
from pathlib import Path

import pytest

from tests.jobs.conftest import Head, new_id, output_of
from tests.support.command import Cli
from tests.support.proxy import Faults, Proxy, answer


@pytest.mark.parametrize(
    ("entrypoint", "code", "status"),
    [("true", 0, "SUCCEEDED"), ("exit 7", 1, "FAILED")],
)
def test_submit_exits_by_the_result_of_the_job(cli: Cli, entrypoint: str, code: int, status: str) -> None:
    done = cli("submit", "--output", "json", "--", entrypoint)
    record = json.loads(done.stdout)
    assert (done.returncode, record["status"], record["exit_code"]) == (code, status, code)
    assert record["driver_exit_code"] == (7 if code else 0)


def test_a_stopped_job_ends_the_follower_with_3(cli: Cli) -> None:
    job = new_id()
    assert cli("submit", "--no-wait", "--submission-id", job, "--", "sleep 600").returncode == 0
    follower = cli.start("logs", "--follow", job)
    assert cli("stop", job).returncode == 0
    assert follower.wait(60) == 3
    assert cli("wait", job).returncode == 3


def test_stdout_is_the_jobs_bytes_and_nothing_else(cli: Cli, head: Head) -> None:
    job = new_id()
    script = r"""import sys; sys.stdout.buffer.write(b'10%\r50%\r\n\xff\xfe \xe4\xb8\x96 \x1b[31mred\x1b[0m\nno end')"""
    done = cli("submit", "--submission-id", job, "--", "python", "-c", script)
    log = (head.log_dir / f"job-driver-{job}.log").read_bytes()
    assert done.returncode == 0
    assert done.stdout == log
    assert output_of(done.stdout) == b"10%\r50%\r\n\xff\xfe \xe4\xb8\x96 \x1b[31mred\x1b[0m\nno end"
    assert cli("logs", job).stdout == log


@pytest.mark.parametrize(
    "words",
    [
        ["python", "-c", "import sys; print(sys.argv[1:])", "two words", "it's", 'a "b"', "$HOME", "a;b", "*", "ü"],
        ["python", "-c", "import sys; print(sys.argv[1:])", "", "back\\slash", "new\nline"],
    ],
)
def test_the_entrypoint_arrives_as_typed(cli: Cli, words: list[str]) -> None:
    done = cli("submit", "--", *words)
    assert done.returncode == 0
    # Ray's own line repeats the entrypoint, which may be of several lines.
    output = output_of(done.stdout.replace(shlex.join(words).encode(), b""))
    assert output.decode() == f"{words[3:]}\n"


def test_one_word_is_a_line_for_the_shell(cli: Cli) -> None:
    done = cli("submit", "--", "echo one && echo two | tr t T")
    assert output_of(done.stdout) == b"one\nTwo\n"


def test_no_wait_prints_the_id_and_the_job_runs_on(cli: Cli) -> None:
    done = cli("submit", "--no-wait", "--", "sleep 2; echo late")
    job = done.stdout.decode().strip()
    assert done.returncode == 0
    assert b"late" not in done.stdout
    assert cli("wait", job).returncode == 0
    assert output_of(cli("logs", job).stdout) == b"late\n"


def test_the_working_directory_is_where_the_job_runs(cli: Cli) -> None:
    (cli.cwd / "sub dir").mkdir()
    (cli.cwd / "sub dir" / "größe.txt").write_text("from the directory")
    (cli.cwd / "script.py").write_text("print(open('sub dir/größe.txt').read())")
    done = cli("submit", "--working-dir", ".", "--", "python", "script.py")
    assert done.returncode == 0, done.stderr
    assert output_of(done.stdout) == b"from the directory\n"


def test_likely_secrets_are_said_before_they_are_uploaded_and_the_plan_sends_nothing(cli: Cli) -> None:
    (cli.cwd / ".env").write_text(f"API_KEY={new_id()}")
    planned = cli("submit", "--plan", "--working-dir", ".", address="http://127.0.0.1:9")
    assert planned.returncode == 0
    assert b".env" in planned.stdout
    done = cli("submit", "--no-wait", "--working-dir", ".", "--", "true")
    assert done.returncode == 0
    assert done.stderr.index(b".env") < done.stderr.index(b"Uploading")


def test_runtime_env_metadata_and_resources_reach_the_job(cli: Cli) -> None:
    (cli.cwd / "env.yaml").write_text("env_vars: {GREETING: hello}\n")
    done = cli(
        "submit", "--runtime-env", "env.yaml", "--metadata-json", '{"team": "search"}', "--entrypoint-num-cpus", "1",
        "--", "echo $GREETING",
    )  # fmt: skip
    assert done.returncode == 0
    assert b"hello\n" in done.stdout
    listed = json.loads(cli("list", "--metadata", "team=search", "--output", "json").stdout)
    assert [job["metadata"] for job in listed] == [{"team": "search"}]
    assert listed[0]["runtime_env"]["env_vars"] == {"GREETING": "(not shown)"}


def test_status_and_list_answer_with_0_for_a_failed_job(cli: Cli) -> None:
    job = new_id()
    assert cli("submit", "--submission-id", job, "--", "exit 3").returncode == 1
    shown = cli("status", job)
    assert shown.returncode == 0
    assert b"FAILED" in shown.stdout
    listed = cli("list", "--status", "failed")
    assert listed.returncode == 0
    assert job.encode() in listed.stdout


def test_an_unknown_job_is_refused_by_every_command(cli: Cli) -> None:
    for command in ("status", "logs", "wait", "stop", "delete"):
        done = cli(command, "nobody")
        assert (command, done.returncode, done.stdout) == (command, 2, b"")
        assert b"knows no job 'nobody'" in done.stderr


def test_delete_removes_an_ended_job_and_refuses_a_running_one(cli: Cli) -> None:
    job = new_id()
    cli("submit", "--no-wait", "--submission-id", job, "--", "sleep 600")
    refused = cli("delete", job)
    assert refused.returncode == 2
    assert b"only a job that has ended" in refused.stderr
    cli("stop", job)
    assert cli("delete", job).returncode == 0
    assert cli("status", job).returncode == 2


def test_stopping_a_job_that_has_ended_leaves_it_as_it_is(cli: Cli) -> None:
    job = new_id()
    cli("submit", "--submission-id", job, "--", "true")
    assert cli("stop", job).returncode == 0
    assert json.loads(cli("status", job, "--output", "json").stdout)["status"] == "SUCCEEDED"


def test_wait_for_several_exits_by_the_worst(cli: Cli) -> None:
    good, bad = new_id(), new_id()
    cli("submit", "--no-wait", "--submission-id", good, "--", "sleep 1")
    cli("submit", "--no-wait", "--submission-id", bad, "--", "exit 9")
    done = cli("wait", good, bad, "--output", "json")
    assert done.returncode == 1
    assert [record["status"] for record in json.loads(done.stdout)] == ["SUCCEEDED", "FAILED"]


def test_wait_gives_up_with_5_and_the_job_goes_on(cli: Cli) -> None:
    job = new_id()
    cli("submit", "--no-wait", "--submission-id", job, "--", "sleep 600")
    done = cli("wait", job, "--timeout", "1")
    assert done.returncode == 5
    assert job.encode() in done.stderr
    assert json.loads(cli("status", job, "--output", "json").stdout)["status"] in ("PENDING", "RUNNING")
    cli("stop", job)


def test_a_job_that_runs_too_long_is_stopped_and_its_log_kept(cli: Cli) -> None:
    job = new_id()
    done = cli("submit", "--submission-id", job, "--timeout", "2", "--", "echo begun; sleep 600")
    assert done.returncode == 5
    assert b"begun" in done.stdout
    assert b"--timeout" in done.stderr
    assert json.loads(cli("status", job, "--output", "json").stdout)["status"] == "STOPPED"


def test_a_job_that_no_node_can_take_ends_with_the_queue_timeout(cli: Cli) -> None:
    done = cli("submit", "--queue-timeout", "2", "--entrypoint-num-gpus", "64", "--", "true", timeout=180)
    assert done.returncode == 5
    assert b"--queue-timeout" in done.stderr


def test_the_server_gets_the_content_of_a_file_that_the_runtime_env_names(cli: Cli) -> None:
    """The head has no conda, so the job fails at once."""
    (cli.cwd / "environment.yml").write_text("dependencies: [python=3.11, pip, {pip: [-r requirements.txt]}]\n")
    (cli.cwd / "requirements.txt").write_text("numpy==2.1.0  # ours\n")
    environment = '{"conda": "environment.yml"}'
    done = cli("submit", "--retries", "1", "--output", "json", "--runtime-env-json", environment, "--", "true")
    assert done.returncode == 1
    job = json.loads(done.stdout)
    assert job["error_type"] == "RUNTIME_ENV_SETUP_FAILURE"
    assert job["runtime_env"] == {"conda": {"dependencies": ["python=3.11", "pip", {"pip": ["numpy==2.1.0"]}]}}
    assert b"Trying again" not in done.stderr


def test_a_broken_runtime_env_says_why(cli: Cli) -> None:
    done = cli("submit", "--output", "json", "--working-dir", "https://127.0.0.1:9/none.zip", "--", "true")
    assert done.returncode == 1
    assert json.loads(done.stdout)["error_type"] == "RUNTIME_ENV_SETUP_FAILURE"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ([], b"no entrypoint"),
        (["--", " "], b"no entrypoint"),
        (["--submission-id", "a/b", "--", "true"], b"a/b"),
        (["--submission-id", "a", "--key", "b", "--", "true"], b"--key"),
        (["--metadata-json", "{", "--", "true"], b"--metadata-json"),
        (["--metadata-json", '{"a": 1}', "--", "true"], b"'a'"),
        (["--runtime-env-json", "[]", "--", "true"], b"--runtime-env-json"),
        (["--runtime-env", "missing.yaml", "--", "true"], b"missing.yaml"),
        (["--entrypoint-num-cpus", "many", "--", "true"], b"--entrypoint-num-cpus"),
        (["--working-dir", "nowhere", "--", "true"], b"nowhere"),
        (["--headers", "nonsense", "--", "true"], b"--headers"),
        (["--nonsense", "--", "true"], b"--nonsense"),
    ],
)
def test_bad_input_is_refused_by_name_and_nothing_is_submitted(cli: Cli, words: list[str], named: bytes) -> None:
    before = len(json.loads(cli("list", "--output", "json").stdout))
    done = cli("submit", *words)
    assert (done.returncode, done.stdout) == (2, b"")
    assert named in done.stderr
    assert b"Traceback" not in done.stderr
    assert len(json.loads(cli("list", "--output", "json").stdout)) == before


def test_the_token_is_nowhere_in_what_is_printed(cli: Cli, head: Head, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("wrong-token-of-somebody")
    done = cli("list", "--token-file", str(wrong))
    assert done.returncode == 6
    assert b"wrong-token" not in done.stdout + done.stderr
    done = cli("submit", "--output", "json", "--", "true")
    assert head.token.encode() not in done.stdout + done.stderr
    kept = [file.read_bytes() for file in (tmp_path / "home").rglob("*") if file.is_file()]
    assert kept, "the ledger"
    assert not [each for each in kept if head.token.encode() in each]


def test_stop_of_several_stops_the_others_when_one_is_unknown(cli: Cli) -> None:
    job = new_id()
    cli("submit", "--no-wait", "--submission-id", job, "--", "sleep 600")
    done = cli("stop", "nobody", job)
    assert done.returncode == 2
    assert b"nobody" in done.stderr
    assert json.loads(cli("status", job, "--output", "json").stdout)["status"] == "STOPPED"


def test_delete_of_several_deletes_the_others_when_one_still_runs(cli: Cli) -> None:
    running, ended = new_id(), new_id()
    cli("submit", "--no-wait", "--submission-id", running, "--", "sleep 600")
    cli("submit", "--submission-id", ended, "--", "true")
    done = cli("delete", running, ended)
    assert done.returncode == 2
    assert f"Job {running} is".encode() in done.stderr
    assert cli("status", ended).returncode == 2
    cli("stop", running)


def test_no_secret_of_an_entrypoint_or_metadata_is_shown(cli: Cli) -> None:
    job, metadata = new_id(), '{"client_secret": "hunter3hunter3"}'
    cli("submit", "--no-wait", "--submission-id", job, "--metadata-json", metadata, "--", "API_KEY=hunter2hunter2 true")
    refused = cli("submit", "--submission-id", job, "--", "API_KEY=hunter4hunter4 true")
    assert refused.returncode == 2
    shown = [cli("status", job), cli("status", job, "--output", "json"), cli("list"), cli("list", "--output", "json")]
    assert all(job.encode() in each.stdout for each in shown)
    assert not any(b"hunter" in each.stdout + each.stderr for each in (*shown, refused))


def test_one_job_is_tried_again_under_an_id_of_its_own(cli: Cli) -> None:
    marks = cli.cwd / "marks"
    script = f"echo x >> {marks}; test $(wc -l < {marks}) -ge 2 || exit 75"
    done = cli("submit", "--retries", "2", "--retry-on", "75", "--output", "json", "--", script)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["submission_id"].endswith("-r1")


def test_the_plan_names_what_is_large_what_is_left_out_by_which_rule_and_the_limit(cli: Cli) -> None:
    (cli.cwd / "large.bin").write_bytes(b"x" * 3_000_000)
    (cli.cwd / "small.py").write_text("pass")
    (cli.cwd / "run.log").write_text("x")
    (cli.cwd / ".rayignore").write_text("*.log\n")
    text = cli("submit", "--plan", "--working-dir", ".").stdout.decode()
    assert "2.86 MiB  large.bin" in text
    assert "run.log  (*.log in .rayignore)" in text
    assert "100.00 MiB compressed" in text
    plan = json.loads(cli("submit", "--plan", "--working-dir", ".", "--output", "json").stdout)
    assert plan["largest"][0] == {"path": "large.bin", "bytes": 3_000_000}
    assert [(each["relpath"], each["pattern"]) for each in plan["removed"]] == [("run.log", "*.log")]


def test_the_plan_of_many_jobs_is_one_of_each_directory(cli: Cli) -> None:
    for name in ("one", "two"):
        (cli.cwd / name).mkdir()
        (cli.cwd / name / f"{name}.py").write_text("pass")
    entries = [f"{{entrypoint: 'true {i}', working_dir: {name}}}" for i, name in enumerate(["one", "one", "two"])]
    (cli.cwd / "jobs.yaml").write_text("jobs:\n" + "".join(f"- {entry}\n" for entry in entries))
    words = ("submit", "--plan", "--file", "jobs.yaml")
    text = cli(*words, address="http://127.0.0.1:9").stdout.decode()
    assert "one, for 2 of 3 jobs\npackage:  gcs://" in text
    assert "two, for 1 of 3 jobs\npackage:  gcs://" in text
    plans = json.loads(cli(*words, "--output", "json", address="http://127.0.0.1:9").stdout)
    assert [(each["jobs"], each["largest"][0]["path"]) for each in plans] == [(2, "one.py"), (1, "two.py")]
    swept = cli("submit", "--plan", "--sweep", "i=0..4", "--", "echo", "{i}", address="http://127.0.0.1:9")
    assert swept.stdout == b"Nothing is uploaded: none of 5 jobs has a local directory or module.\n"


def test_an_unchanged_directory_is_uploaded_once(cli: Cli, proxy: Proxy) -> None:
    (cli.cwd / "a.py").write_text(f"print('{new_id()}')")
    for _ in range(2):
        done = cli("submit", "--no-wait", "--working-dir", ".", "--", "true", address=proxy.url)
        assert done.returncode == 0, done.stderr
    assert sum(line.startswith("PUT ") for line in proxy.requests) == 1


def test_a_package_that_the_server_finds_too_large_is_refused_with_what_to_do(cli: Cli, proxy: Proxy) -> None:
    (cli.cwd / "a.py").write_text(f"print('{new_id()}')")
    too_large = answer(413, "Maximum request body size exceeded", "text/plain")
    proxy.faults = Faults(instead=lambda line: too_large if line.startswith("PUT ") else None)
    done = cli("submit", "--working-dir", ".", "--", "true", address=proxy.url)
    assert done.returncode == 2
    assert b"(HTTP 413)" in done.stderr
    assert b"submit --plan" in done.stderr


def test_waiting_for_several_asks_for_the_list_alone(cli: Cli, proxy: Proxy) -> None:
    ids = [new_id(), new_id()]
    for job in ids:
        cli("submit", "--no-wait", "--submission-id", job, "--", "sleep 3")
    assert cli("wait", *ids, address=proxy.url).returncode == 0
    assert "GET /api/jobs/" in proxy.requests
    assert not [line for line in proxy.requests if any(job in line for job in ids)]


def test_a_404_of_another_server_does_not_mean_that_the_job_is_unknown(cli: Cli, proxy: Proxy) -> None:
    proxy.faults = Faults(instead=lambda _line: answer(404, "404: Not Found", "text/plain"))
    done = cli("status", "some-job", address=proxy.url)
    assert done.returncode == 6
    assert b"has no Ray Jobs API at this path" in done.stderr


def test_the_token_stands_in_no_process_arguments(cli: Cli, head: Head) -> None:
    running = cli.start("submit", "--", "echo begun; sleep 60")
    assert running.stdout is not None
    assert any(line == b"begun\n" for line in running.stdout)
    arguments = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            arguments.append(process.read_bytes())
    running.terminate()
    _, said = running.communicate(timeout=60)
    submitted = re.search(r"Job (\S+): submitted", said.decode())
    assert submitted is not None
    cli("stop", "--no-wait", submitted[1])
    assert any(b"jobs\0submit" in each for each in arguments)
    assert not [each for each in arguments if head.token.encode() in each]
