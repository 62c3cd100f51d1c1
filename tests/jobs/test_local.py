"""--local: a Ray of the project's own on this machine, started once, reused, stopped when asked."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.jobs.conftest import Head, output_of, short_directory
from tests.support.command import ROOT, Cli


@pytest.fixture
def local_cli(bare_cli: Cli) -> Iterator[Cli]:
    pytest.importorskip("ray")
    base = short_directory()
    found = replace(bare_cli, environ={**bare_cli.environ, "RAYJOBS_LOCAL_DIR": str(base)})
    yield found
    found.raw("local", "stop")
    shutil.rmtree(base, ignore_errors=True)


def test_every_command_works_without_a_cluster_on_one_ray_that_is_stopped_when_asked(local_cli: Cli) -> None:
    first = local_cli.raw("submit", "--local", "--", "echo one")
    assert first.returncode == 0, first.stderr
    assert output_of(first.stdout) == b"one\n"
    state = json.loads(next(Path(local_cli.environ["RAYJOBS_LOCAL_DIR"]).glob("state.json")).read_text())
    assert Path(state["token_file"]).stat().st_mode & 0o777 == 0o600

    example = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "python_api.py"), "--local"],
        cwd=local_cli.cwd, env=local_cli.environ, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert example.returncode == 0, example.stderr
    assert "SUCCEEDED" in example.stdout

    listed = json.loads(local_cli.raw("list", "--local", "--output", "json").stdout)
    assert len(listed) == 2
    assert local_cli.raw("check", "--local").returncode == 0
    forwarded = local_cli.raw("forward", "--local", "--", sys.executable, "-c", STOCK_LIST)
    assert forwarded.stdout.strip() == b"2", forwarded.stderr

    assert b"Stopped" in local_cli.raw("local", "stop").stdout
    assert b"Not running" in local_cli.raw("local", "status").stdout
    assert not Path(f"/proc/{state['pid']}").exists()


# What the stock client finds with nothing but what `forward` has set.
STOCK_LIST = """
from ray.job_submission import JobSubmissionClient
print(len([job for job in JobSubmissionClient().list_jobs() if job.submission_id]))
"""


def test_a_forwarded_command_gives_its_exit_code_and_its_token_file_goes_away(cli: Cli) -> None:
    script = "import os, sys; path = os.environ['RAY_AUTH_TOKEN_PATH']\n"
    script += "print(path, oct(os.stat(path).st_mode & 0o777)); sys.exit(9)"
    done = cli("forward", "--", sys.executable, "-c", script)
    path, mode = done.stdout.decode().split()
    assert (done.returncode, mode) == (9, "0o600")
    assert not Path(path).exists()
    assert cli("forward", "--", "no-such-program").returncode == 2


def test_forward_prints_what_to_export_and_never_the_token(cli: Cli, head: Head) -> None:
    import signal

    process = cli.start("forward")
    assert process.stdout is not None
    lines = [process.stdout.readline().decode() for _ in range(4)]
    exports = dict(line.removeprefix("export ").strip().split("=", 1) for line in lines)
    assert exports["RAY_API_SERVER_ADDRESS"] == exports["RAY_ADDRESS"] == cli.address
    assert Path(exports["RAY_AUTH_TOKEN_PATH"]).read_text() == head.token
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert not Path(exports["RAY_AUTH_TOKEN_PATH"]).exists()
    assert head.token.encode() not in "".join(lines).encode() + out + err
