"""`--local` where another process starts or stops the local Ray."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import socket
from pathlib import Path

import pytest

from jobs import local_ray as local
from jobs.connection import open_connection
from jobs.deadline import Deadline
from jobs.errors import DeadlinePassed, LocalFault, Unreachable
from jobs.target.resolve import LocalTarget
from tests.support import another_user


def test_a_start_by_somebody_else_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYJOBS_LOCAL_DIR", str(tmp_path))
    monkeypatch.setattr(local, "START_SECONDS", 0.2)
    monkeypatch.setattr(local, "STOP_SECONDS", 0.2)
    with (local.directory() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DeadlinePassed, match="Another process has held"):
            asyncio.run(asyncio.wait_for(local.stop(), 10))


def state(folder: Path, port: int) -> None:
    """A state file of a local Ray at this port, whose process runs."""
    (folder / "token").write_text("the-token")
    content = {"pid": os.getpid(), "url": f"http://127.0.0.1:{port}", "token_file": str(folder / "token")}
    (folder / "state.json").write_text(json.dumps(content))


@another_user.needs_root
def test_the_token_is_not_sent_to_another_user_who_took_the_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYJOBS_LOCAL_DIR", str(tmp_path))
    with another_user.listener() as (port, received):
        state(local.directory(), port)
        assert asyncio.run(local.find()) is None
        assert not received.poll(0.5)


@another_user.needs_root
def test_the_owner_of_the_port_is_checked_before_each_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The head may die, and another user take its port, while a command runs."""
    monkeypatch.setenv("RAYJOBS_LOCAL_DIR", str(tmp_path))

    async def ask(port: int) -> None:
        async def running(_notify: object) -> local.LocalRay:
            return local.LocalRay(os.getpid(), f"http://127.0.0.1:{port}", str(tmp_path / "token"))

        monkeypatch.setattr(local, "ensure", running)
        async with open_connection(LocalTarget({})) as connection:
            await connection.client.version(Deadline(5))

    with another_user.listener() as (port, received):
        state(tmp_path, port)
        with pytest.raises(LocalFault, match=f"uid {another_user.UID}"):
            asyncio.run(ask(port))
        assert not received.poll(0.5)


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::", "::ffff:127.0.0.1"])
def test_a_listener_of_this_user_is_accepted(address: str) -> None:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as server:
        if ":" in address:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        server.bind((address, 0))
        server.listen()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        local.check_listener(url)
    with pytest.raises(Unreachable, match="Nothing listens"):
        local.check_listener(url)


def test_the_address_is_the_one_in_the_log_of_this_start(tmp_path: Path) -> None:
    line = "INFO http_server_head.py:492 -- Dashboard head http address: 127.0.0.1:{}\n"
    for session, port in (("session_2026-01-01_0_7", 1111), ("session_2026-01-02_0_7", 2222), ("session_2026_8", 3333)):
        log = tmp_path / session / "logs" / "dashboard.log"
        log.parent.mkdir(parents=True)
        log.write_text(line.format(port))
    assert local.dashboard_url(tmp_path, 7) == "http://127.0.0.1:2222"
    assert local.dashboard_url(tmp_path, 9) is None
