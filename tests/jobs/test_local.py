"""--local: a Ray of the project's own on this machine, started once, reused, stopped when asked."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from jobs import local_ray as local
from jobs.errors import LocalFault
from jobs.local_ray import SOCKET_TABLES
from tests.jobs.conftest import Head, output_of, short_directory
from tests.support import another_user
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


@another_user.needs_root
def test_another_user_who_takes_ports_first_gets_nothing(local_cli: Cli) -> None:
    with another_user.port_racer() as received:
        try:
            started = local_cli.raw("local", "start")
        finally:
            assert not received.poll(0)
    assert started.returncode == 0, started.stderr
    pid = json.loads((Path(local_cli.environ["RAYJOBS_LOCAL_DIR"]) / "state.json").read_text())["pid"]
    inodes = {
        link.removeprefix("socket:[").rstrip("]")
        for process in Path("/proc").glob("[0-9]*")
        if process_group(process) == pid
        for link in open_files(process)
        if link.startswith("socket:")
    }
    rows = [line.split() for table in SOCKET_TABLES for line in table.read_text().splitlines()[1:]]
    addresses = {row[1].split(":")[0] for row in rows if row[3] == "0A" and row[9] in inodes}
    assert len(addresses) >= 2
    assert addresses <= {"0100007F", "0000000000000000FFFF00000100007F"}


def process_group(process: Path) -> int:
    try:
        return os.getpgid(int(process.name))
    except ProcessLookupError:
        return 0


def open_files(process: Path) -> list[str]:
    try:
        return [os.readlink(link) for link in (process / "fd").iterdir()]
    except OSError:
        return []


@another_user.needs_root
def test_a_port_that_another_user_has_taken_ends_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    base = short_directory()
    monkeypatch.setenv("RAYJOBS_LOCAL_DIR", str(base))
    with another_user.listener() as (port, _):
        monkeypatch.setattr(local, "free_port", lambda: port)
        with pytest.raises(LocalFault):
            asyncio.run(local.ensure(print))
    assert not (base / "state.json").exists()
    shutil.rmtree(base, ignore_errors=True)


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
