"""A server that was never reached ends a command in seconds; one that answered before is waited for."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from jobs.activity import Activity, listening
from jobs.dashboard import http as http_module
from jobs.dashboard.client import RayJobsApi
from jobs.dashboard.http import HttpClient, NotConnected
from jobs.dashboard.submission import submit_once
from jobs.deadline import Deadline
from jobs.errors import Unreachable
from jobs.spec.job_spec import JobSpec
from tests.support.api_server import kubeconfig
from tests.support.command import NO_ADDRESS, Cli
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


class Record:
    def __init__(self) -> None:
        self.activities: list[Activity] = []

    def started(self, activity: Activity) -> None:
        self.activities.append(activity)

    def ended(self, activity: Activity) -> None:
        pass


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
