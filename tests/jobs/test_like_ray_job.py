"""What the documentation of `ray job` promises, and other files do not test yet: docs/jobs.md has the table."""

from __future__ import annotations

import json

import pytest

from tests.jobs.conftest import Head, new_id, output_of
from tests.support.command import Cli, wait_until

# Ray replaces `$NAME` by a variable of the node, so this name is of none.
ODD = {
    "SPACES": "  two  words ",
    "QUOTES": """it's "quoted" `here`""",
    "SHELL": "$NOT_THERE $(id) $1 5$ ; & | * ~ %s",
    "BACKSLASH": r"C:\new\table \\",
    "LINES": "one\ntwo\n\tthree",
    "UNICODE": "größe 世界 🎉 e\u0301",
    "EMPTY": "",
    "JSON": '{"a": [1, "b"]}',
}
PRINT = "import json, os; print(json.dumps({name: os.environ.get(name) for name in %r}))" % list(ODD)  # noqa: UP031


@pytest.mark.parametrize(
    ("words", "output"),
    [
        (
            ["bash", "-c", 'echo "two  words" \'$HOME\'; echo "$1"', "zero", "a 'b' \"c\""],
            "two  words $HOME\na 'b' \"c\"\n",
        ),
        (["bash", "-c", "python -c 'print(\"größe 🎉\")' | tr g G"], "Größe 🎉\n"),
        (["bash -c 'echo \"a  b\" && exit 0' && echo done"], "a  b\ndone\n"),
        # Lines, because Ray's own line can come after what the job writes.
        (["printf", "%s|\\n", "🎉 $HOME", "\\n", "a\tb", ""], "🎉 $HOME|\n\\n|\na\tb|\n|\n"),
    ],
)
def test_a_shell_in_the_entrypoint_gets_its_words_as_typed(cli: Cli, words: list[str], output: str) -> None:
    done = cli("submit", "--", *words)
    assert done.returncode == 0, done.stderr
    assert output_of(done.stdout).decode() == output


@pytest.mark.parametrize("way", ["--env", "--runtime-env-json"])
def test_environment_variables_and_metadata_arrive_as_typed(cli: Cli, way: str) -> None:
    job = new_id()
    if way == "--env":
        words = [word for name, value in ODD.items() for word in ("--env", f"{name}={value}")]
    else:
        words = ["--runtime-env-json", json.dumps({"env_vars": ODD})]
    done = cli(
        "submit", "--submission-id", job, *words, "--metadata-json", json.dumps(ODD), "--", "python", "-c", PRINT
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(output_of(done.stdout)) == ODD
    assert json.loads(cli("status", job, "--output", "json").stdout)["metadata"] == ODD


def test_the_log_of_an_instant_job_is_whole(cli: Cli, head: Head) -> None:
    """Ray's own line may be in the middle: Ray flushes it when the job has begun to write."""
    for job in (new_id(), new_id(), new_id()):
        done = cli("submit", "--submission-id", job, "--", "seq 20000")
        assert done.returncode == 0
        assert done.stdout == (head.log_dir / f"job-driver-{job}.log").read_bytes()
        assert len(done.stdout) > len("\n".join(map(str, range(1, 20001))))


def test_stop_without_waiting_returns_while_the_job_still_ends(cli: Cli) -> None:
    job = new_id()
    # Ray kills what ignores SIGTERM after three seconds.
    cli("submit", "--no-wait", "--submission-id", job, "--", "trap '' TERM; echo ready; while :; do sleep 1; done")
    wait_until(lambda: b"ready" in cli("logs", job).stdout, 60)
    done = cli("stop", "--no-wait", job)
    assert done.returncode == 0
    assert f"Job {job}: asked to stop.".encode() in done.stderr
    assert cli("wait", job).returncode == 3


def test_the_resources_of_the_entrypoint_are_reserved_while_it_runs(cli: Cli) -> None:
    job = new_id()
    script = "import ray; ray.init(logging_level='ERROR'); print(ray.available_resources())"
    custom = json.dumps({"node:127.0.0.1": 0.25})
    reserved = ["--entrypoint-num-cpus", "1.5", "--entrypoint-memory", "100000000", "--entrypoint-resources", custom]
    done = cli("submit", "--submission-id", job, *reserved, "--", "python", "-c", script)
    assert done.returncode == 0, done.stderr
    assert b"'CPU': 2.5" in done.stdout
    assert b"'node:127.0.0.1': 0.75" in done.stdout


def test_a_package_that_is_not_found_is_named(cli: Cli) -> None:
    """Without an index, so that no network is needed."""
    environment = {"pip": {"packages": ["no-such-package-of-ours==1.0"], "pip_install_options": ["--no-index"]}}
    done = cli("submit", "--runtime-env-json", json.dumps(environment), "--", "true", timeout=300)
    assert done.returncode == 1
    assert b"No matching distribution found for no-such-package-of-ours==1.0" in done.stderr.splitlines()[-1]
