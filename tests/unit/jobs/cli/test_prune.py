"""`prune`: which records it deletes, and when it asks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.command import Cli
from tests.support.http_server import JsonHandler, serve

NOW = time.time()
DAY = 86400.0


def job(submission_id: str, status: str = "SUCCEEDED", user: str = "alice", days: float = 8) -> dict[str, Any]:
    at = int((NOW - days * DAY) * 1000)
    ended = {"end_time": at} if status in ("SUCCEEDED", "FAILED", "STOPPED") else {}
    metadata = {"rayjobs.user": user} if user else {}
    return {
        "submission_id": submission_id, "status": status, "type": "SUBMISSION", "start_time": at, **ended,
        "metadata": metadata,
    }  # fmt: skip


JOBS = [
    job("old"),
    job("old-failed", "FAILED"),
    job("new", days=6),
    job("running", "RUNNING", days=30),
    job("of-bob", user="bob"),
    job("of-another-client", user=""),
    {**job("driver"), "type": "DRIVER"},
]


@contextmanager
def dashboard(deleted: list[str]) -> Iterator[str]:
    by_id = {each["submission_id"]: each for each in JOBS}

    class Dashboard(JsonHandler):
        def do_GET(self) -> None:
            name = self.path.removeprefix("/api/jobs/")
            if self.path == "/api/jobs/":
                self.answer(JOBS)
            elif name in by_id and name not in deleted:
                self.answer(by_id[name])
            else:
                self.answer(f"Job {name} does not exist", 404)

        def do_DELETE(self) -> None:
            deleted.append(self.path.removeprefix("/api/jobs/"))
            self.answer({})

    with serve(Dashboard) as url:
        yield url


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ((), ["old", "old-failed"]),
        (("--status", "failed"), ["old-failed"]),
        (("--user", "bob"), ["of-bob"]),
        (("--all-users",), ["of-another-client", "of-bob", "old", "old-failed"]),
    ],
)
def test_only_ended_jobs_of_the_user_that_are_old_are_deleted(
    options: tuple[str, ...], ids: list[str], bare_cli: Cli
) -> None:
    deleted: list[str] = []
    with dashboard(deleted) as url:
        done = bare_cli("prune", "--older-than", "7d", "--yes", *options, address=url, RAYJOBS_USER="alice")
    assert done.returncode == 0, done.stderr
    assert sorted(deleted) == ids
    if not options:
        assert b"2 jobs of others ended more than 7d ago too (--all-users)." in done.stderr


def test_a_dry_run_shows_the_jobs_and_deletes_nothing(bare_cli: Cli) -> None:
    deleted: list[str] = []
    with dashboard(deleted) as url:
        done = bare_cli("prune", "--older-than", "7d", "--dry-run", address=url, RAYJOBS_USER="alice")
    assert [line.split()[0] for line in done.stdout.decode().splitlines()] == ["ID", "old", "old-failed"]
    assert (done.returncode, deleted) == (0, [])


def test_without_a_terminal_to_ask_and_without_yes_nothing_is_deleted(bare_cli: Cli) -> None:
    deleted: list[str] = []
    with dashboard(deleted) as url:
        done = bare_cli("prune", "--older-than", "7d", address=url, RAYJOBS_USER="alice")
    assert (done.returncode, deleted) == (2, [])
    assert b"2 records would be deleted" in done.stderr
    assert b"Use --yes." in done.stderr


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--older-than", "week"), b"--older-than 'week' is not a duration."),
        ((), b"--older-than"),
        (("--older-than", "7d", "--user", "a", "--all-users"), b"cannot be used together"),
    ],
)
def test_what_cannot_be_used_is_refused_before_the_server_is_asked(
    options: tuple[str, ...], text: bytes, bare_cli: Cli
) -> None:
    done = bare_cli("prune", *options)
    assert done.returncode == 2
    assert text in done.stderr


def test_without_a_name_the_jobs_of_other_clients_are_not_taken_for_ones_own(bare_cli: Cli) -> None:
    done = bare_cli("prune", "--older-than", "7d", "--yes", RAYJOBS_USER="")
    assert done.returncode == 2
    assert b"Use --user or --all-users." in done.stderr
