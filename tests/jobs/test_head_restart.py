"""A head that restarts without fault tolerance has forgotten its jobs: they are lost, and that is said."""

from __future__ import annotations

import dataclasses
import shutil

import pytest

from jobs import local_ray as local
from tests.jobs.conftest import Head, new_id, short_directory, start_head
from tests.support.command import Cli


def test_a_job_whose_head_restarts_is_lost_with_4_and_not_running_for_ever(cli: Cli) -> None:
    pytest.importorskip("ray")
    base = short_directory()
    first = start_head(base)
    second: Head | None = None
    try:
        mine = dataclasses.replace(
            cli, address=first.url, environ={**cli.environ, "RAY_AUTH_TOKEN_PATH": str(first.token_file)}
        )
        job = new_id()
        words = ("--submission-id", job, "--", "echo begun; sleep 600")
        follower = mine.start("submit", *words)
        assert follower.stdout is not None
        for line in follower.stdout:
            if line == b"begun\n":
                break
        waiter = mine.start("wait", job)
        local.end(first.pid)
        second = start_head(base, first.ports)
        _, said = follower.communicate(timeout=120)
        assert follower.returncode == 4
        assert b"lost" in said.lower()
        assert waiter.wait(60) == 4

        again = mine("submit", *words)
        assert again.returncode == 4
        assert f"rerun {job}".encode() in again.stderr
        assert b"begun" in mine("logs", job).stdout
    finally:
        if second is not None:
            local.end(second.pid)
        shutil.rmtree(base, ignore_errors=True)
