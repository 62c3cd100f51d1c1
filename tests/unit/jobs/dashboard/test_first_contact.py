"""A server that was never reached ends a command in seconds; one that answered before is waited for."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobs.activity import listening
from jobs.dashboard import http as http_module
from jobs.dashboard.client import RayJobsApi
from jobs.dashboard.http import HttpClient, NotConnected
from jobs.dashboard.submission import submit_once
from jobs.deadline import Deadline
from jobs.errors import Unreachable
from jobs.spec.job_spec import JobSpec
from tests.support.activities import Record
from tests.support.api_server import kubeconfig
from tests.support.command import NO_ADDRESS, ROOT, Cli
from tests.support.outputs import contract, write
from tests.support.proxy import Faults, Proxy, answer

NO_NAME = "http://no-such-host.invalid:8265"
VERSION = answer(200, json.dumps({"version": "4", "ray_version": "2.60.0", "session_name": "s"}))


REFUSED = b"nothing listens there (connection refused)"


@pytest.mark.parametrize(
    ("words", "address", "named"),
    [
        (("status", "j"), NO_ADDRESS, REFUSED),
        (("wait", "j"), NO_ADDRESS, REFUSED),
        (("submit", "--", "true"), NO_ADDRESS, REFUSED),
        (("list",), NO_NAME, b"the host name does not resolve"),
    ],
)
def test_a_first_contact_that_fails_ends_in_seconds_and_says_why(
    bare_cli: Cli, words: tuple[str, ...], address: str, named: bytes
) -> None:
    began = time.monotonic()
    name, *rest = words
    done = bare_cli(name, "--allow-unauthenticated", *rest, address=address)
    assert time.monotonic() - began < 20  # The old patience was 60 s for `status`, 180 s for `list`, 300 s for `wait`.
    assert (done.returncode, done.stdout) == (6, b"")
    assert named in done.stderr
    assert b"Check the host" in done.stderr
    assert b"not clear" not in done.stderr  # Nothing was sent, so nothing was submitted.


def test_a_server_that_answered_before_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_module, "FIRST_CONTACT_SECONDS", 0.2)

    async def ask() -> tuple[float, Unreachable]:
        with Proxy("127.0.0.1", 9) as server:
            server.faults = Faults(instead=lambda _line: VERSION)
            http = HttpClient(server.url)
            await RayJobsApi(http).version(Deadline(5))
        began = time.monotonic()
        with pytest.raises(Unreachable) as refused:
            await RayJobsApi(http).version(Deadline(2.0))
        await http.close()
        return time.monotonic() - began, refused.value

    seconds, error = asyncio.run(ask())
    assert isinstance(error, NotConnected)
    assert seconds > 0.8


def test_a_server_that_takes_the_connection_and_says_nothing_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_module, "FIRST_CONTACT_SECONDS", 0.2)

    async def ask() -> float:
        with Proxy("127.0.0.1", 9) as server:
            server.faults = Faults(drop_request=lambda _line: True)
            http = HttpClient(server.url)
            began = time.monotonic()
            with pytest.raises(Unreachable):
                await RayJobsApi(http).version(Deadline(2.0))
            await http.close()
            return time.monotonic() - began

    assert asyncio.run(ask()) > 0.8


def test_a_submission_is_unclear_only_after_something_was_sent() -> None:
    async def submit() -> None:
        with Proxy("127.0.0.1", 9) as server:
            server.faults = Faults(drop_request=lambda _line: True)
            http = HttpClient(server.url)
            try:
                await submit_once(RayJobsApi(http), JobSpec("true"), "j", deadline=Deadline(1.0))
            finally:
                await http.close()

    with pytest.raises(Unreachable, match="not clear whether job j was submitted"):
        asyncio.run(submit())


def test_a_wait_for_an_answer_names_the_server_the_end_and_the_last_failure() -> None:
    record = Record()

    async def ask() -> None:
        http = HttpClient(NO_ADDRESS)
        try:
            await RayJobsApi(http).version(Deadline(0.5))
        finally:
            await http.close()

    with listening(record), pytest.raises(NotConnected):
        asyncio.run(ask())
    (waiting,) = record.activities
    assert waiting.text == f"Waiting for an answer from {NO_ADDRESS}"
    assert waiting.until is not None
    assert "connection refused" in waiting.detail


def test_a_kubernetes_api_where_nothing_listens_is_said_at_once(bare_cli: Cli) -> None:
    outputs = write(bare_cli.cwd / "outputs.json", contract())
    config = kubeconfig(bare_cli.cwd, NO_ADDRESS, "kind-ray")
    began = time.monotonic()
    done = bare_cli.raw("list", "--outputs", str(outputs), "--kubeconfig", str(config))
    assert time.monotonic() - began < 20
    assert (done.returncode, done.stdout) == (6, b"")
    assert b"the Kubernetes API (context kind-ray): " + REFUSED in done.stderr


@pytest.fixture
def silent_name_server(tmp_path: Path) -> dict[str, str]:
    """The environment of a process for which no name is ever looked up, as with a VPN that is off."""
    (tmp_path / "sitecustomize.py").write_text(
        "import socket, time\nsocket.getaddrinfo = lambda *_a, **_k: time.sleep(60)"
    )
    return {"PYTHONPATH": f"{tmp_path}:{ROOT}"}


NAME = "http://ray.example.com"


def test_a_name_server_that_is_silent_does_not_hold_a_command(
    bare_cli: Cli, silent_name_server: dict[str, str]
) -> None:
    began = time.monotonic()
    done = bare_cli("list", "--allow-unauthenticated", address=NAME, **silent_name_server)
    assert time.monotonic() - began < 40
    assert done.returncode == 6
    assert b"no connection within 10 s" in done.stderr


def test_an_interrupt_ends_a_command_while_a_name_is_looked_up(
    bare_cli: Cli, silent_name_server: dict[str, str]
) -> None:
    process = bare_cli.start_raw("list", "--allow-unauthenticated", "--address", NAME, **silent_name_server)
    assert process.stderr is not None
    assert process.stderr.readline().startswith(f"Waiting for an answer from {NAME}; until ".encode())
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=90)
    assert process.returncode == 130
    assert time.monotonic() - began < 8


def test_a_program_is_not_held_by_a_silent_name_server(bare_cli: Cli, silent_name_server: dict[str, str]) -> None:
    program = f"""
from jobs import Unreachable, connect
try:
    with connect("{NAME}", allow_unauthenticated=True) as client:
        client.list()
except Unreachable as error:
    print(error.exit_code)
"""
    began = time.monotonic()
    words = [sys.executable, "-c", program]
    environ = {**bare_cli.environ, **silent_name_server}
    done = subprocess.run(words, cwd=bare_cli.cwd, env=environ, capture_output=True, check=False, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"6\n", b"")
    assert time.monotonic() - began < 40
