"""A runtime_env on the command line: files are read here, and what Ray would fail is never sent."""

from __future__ import annotations

import json

import pytest

from jobs.cli.submit_options import JobFlags
from tests.support.command import Cli
from tests.support.proxy import answer, server

REQUIREMENTS = "--extra-index-url https://user:pa55w0rd@example.com/simple\n-r more.txt\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--runtime-env-json", '{"env_vars": {"A": 1}}'], "runtime_env.env_vars.A is a number"),
        (["--runtime-env", "env.yaml"], "runtime_env.env_vars.A is true; allowed: a text, so put it into quotes."),
        (["--runtime-env-json", '{"pip": ["a"], "uv": ["b"]}'], "runtime_env.pip and uv are set together"),
        (["--runtime-env-json", '{"conda": "a", "pip": ["b"]}'], "runtime_env.pip and conda are set together"),
        (["--entrypoint-resources", '{"CPU": 1}'], "use entrypoint_num_cpus (--entrypoint-num-cpus)"),
        (["--entrypoint-resources", '{"a": -1}'], "entrypoint_resources.a is -1"),
        (["--entrypoint-num-gpus", "1.5"], "entrypoint_num_gpus 1.5: above 1"),
        (["--entrypoint-num-cpus", "inf"], "entrypoint_num_cpus is inf"),
        (["--entrypoint-label-selector", '{"a": "b c"}'], "entrypoint_label_selector.a is no label selector"),
        (["--working-dir", "s3://bucket/dir"], "runtime_env.working_dir is a URI of no archive"),
        (["--runtime-env-json", '{"pip": "nowhere.txt"}'], "nowhere.txt, which cannot be read"),
        (["--env", "=1"], "--env has a value without a name"),
        (["--env", "NOT_SET_HERE"], "--env NOT_SET_HERE: this variable is not set here"),
        (["--env", "A=1", "--file", "jobs.yaml"], "--file and --env cannot be used together"),
        (["--file", "jobs.yaml"], "jobs[1]: runtime_env.env_vars.A is a number"),
        (["--plan", "--working-dir", ".", "--runtime-env", "env.yaml"], "runtime_env.env_vars.A is true"),
    ],
)
def test_what_ray_would_fail_is_refused_and_nothing_is_sent(bare_cli: Cli, arguments: list[str], words: str) -> None:
    (bare_cli.cwd / "env.yaml").write_text("env_vars: {A: true}\n")
    (bare_cli.cwd / "jobs.yaml").write_text(
        "jobs: [{entrypoint: 'true'}, {entrypoint: 'true', runtime_env: {env_vars: {A: 1}}}]\n"
    )
    entrypoint = [] if "--file" in arguments else ["--", "true"]
    with server(answer(200, "[]")) as ray:
        done = bare_cli("submit", "--retries", "2", *arguments, *entrypoint, address=ray.url)
        assert done.returncode == 2, done.stderr
        assert words in done.stderr.decode()
        assert not ray.requests


@pytest.mark.parametrize(
    "arguments", [["--working-dir", "."], [], ["--sweep", "i=1,2"], ["--file", "jobs.yaml"]], ids=str
)
def test_the_plan_shows_the_content_of_the_files_without_secrets(bare_cli: Cli, arguments: list[str]) -> None:
    (bare_cli.cwd / "requirements.txt").write_text(REQUIREMENTS)
    (bare_cli.cwd / "more.txt").write_text("numpy==2.1.0\n")
    runtime_env = json.dumps({"pip": "requirements.txt", "env_vars": {"A": "hunter2"}})
    (bare_cli.cwd / "jobs.yaml").write_text(f"jobs: [{{entrypoint: 'true', runtime_env: {runtime_env}}}]\n")
    if "--file" not in arguments:
        arguments = [*arguments, "--runtime-env-json", runtime_env, "--", "echo", "{i}"]
    done = bare_cli("submit", "--plan", *arguments)
    assert done.returncode == 0, done.stderr
    shown = done.stdout.decode()
    assert "numpy==2.1.0" in shown
    assert "pa55w0rd" not in shown
    assert "hunter2" not in shown
    assert "requirements.txt" not in shown.split("runtime_env, as it is sent:")[1]


def test_the_plan_as_json_has_the_runtime_env(bare_cli: Cli) -> None:
    (bare_cli.cwd / "requirements.txt").write_text("numpy==2.1.0\n")
    done = bare_cli("submit", "--plan", "--runtime-env-json", '{"uv": "requirements.txt"}', "--output", "json")
    assert json.loads(done.stdout) == {"runtime_env": {"uv": ["numpy==2.1.0"]}}


def test_env_replaces_a_variable_of_the_runtime_env_and_can_take_its_value_from_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("API_KEY", "from here")
    job = JobFlags(runtime_env_json='{"env_vars": {"A": "a", "B": "b"}, "pip": ["x"]}', env=("B=1=2", "C=", "API_KEY"))
    variables = {"A": "a", "B": "1=2", "C": "", "API_KEY": "from here"}
    assert job.read_runtime_env() == {"env_vars": variables, "pip": ["x"]}
    assert JobFlags().read_runtime_env() == {}
