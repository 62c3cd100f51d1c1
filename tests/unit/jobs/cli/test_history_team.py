"""`history --team`: all jobs of a cluster from its keeper; and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.support.command import NO_ADDRESS, Cli
from tests.support.keeper_page import TOKEN, Page, failed, job, serving

NOON = datetime(2026, 11, 20, 12, tzinfo=timezone.utc).timestamp()
# Of the machine of the command, nine hours before that of the keeper.
ZONE = "XXX-9"


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    page = Page(tmp_path / "kept")
    page.keep(
        job("old", start=NOON - 3 * 86400, user="grace"),
        failed("broken", start=NOON, user="ada", entrypoint="python train.py --lr 1"),
        job("runs", "RUNNING", start=NOON + 60, user="ada", entrypoint="python serve.py"),
    )
    yield page
    page.keeping.close()


@pytest.fixture
def team(page: Page, bare_cli: Cli):  # type: ignore[no-untyped-def]
    with serving(page.app) as url:

        def run(*words: str, **environ: str) -> CompletedProcess[bytes]:
            environ = {"RAY_AUTH_TOKEN": TOKEN, "TZ": ZONE, **environ}
            return bare_cli("history", "--team", *words, "--keeper", url, address=NO_ADDRESS, **environ)

        yield run


def test_jobs_of_everybody_are_listed_newest_first_without_asking_ray(team) -> None:  # type: ignore[no-untyped-def]
    done = team()
    lines = done.stdout.decode().splitlines()
    assert done.returncode == 0, done.stderr
    assert lines[0].split() == ["ID", "STATUS", "USER", "SUBMITTED", "DURATION", "ENTRYPOINT"]
    assert [line.split()[:3] for line in lines[1:]] == [
        ["runs", "RUNNING", "ada"],
        ["broken", "FAILED", "ada"],
        ["old", "SUCCEEDED", "grace"],
    ]
    assert "1m00s" in lines[3]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--status", "failed"), ["broken"]),
        (("--user", "ada"), ["runs", "broken"]),
        (("--since", "2026-11-20"), ["runs", "broken"]),
        (("--since", "2026-11-20 21:00:30"), ["runs"]),
        (("--search", "TRAIN.PY --lr"), ["broken"]),
        (("--limit", "2"), ["runs", "broken"]),
        (("--user", "nobody"), []),
        (("--mine",), ["old"]),
    ],
)
def test_filters_choose_jobs_and_a_date_is_one_of_this_machine(  # type: ignore[no-untyped-def]
    team, options: tuple[str, ...], expected: list[str]
) -> None:
    done = team(*options, "--output", "json", RAYJOBS_USER="grace")
    assert [each["submission_id"] for each in json.loads(done.stdout)] == expected
    assert (b"--limit 20 shows more" in done.stderr) == (options == ("--limit", "2"))


def test_one_job_has_all_that_is_known_of_it(team) -> None:  # type: ignore[no-untyped-def]
    text = team("broken").stdout.decode()
    assert "why:        Its program failed: ValueError: batch 17" in text
    assert "user:       ada\n" in text
    record = json.loads(team("broken", "--output", "json").stdout)
    assert (record["status"], record["changes"][-1]["status"], record["reason"][:18]) == (
        "FAILED",
        "FAILED",
        "Its program failed",
    )


def test_what_cannot_be_asked_is_refused_with_what_helps(team, bare_cli: Cli) -> None:  # type: ignore[no-untyped-def]
    cases = {
        ("--since", "2d"): "--since has no effect without --team.",
        ("--address", "http://127.0.0.1:9"): "--address has no effect without --team.",
        ("--local",): "--local has no effect without --team.",
        ("--team", "--mine", "--user", "ada", "--address", NO_ADDRESS): "--mine and --user cannot be used together",
        ("--team", "a", "--search", "b", "--address", NO_ADDRESS): "--search has no effect with an ID.",
        ("--team", "--since", "yesterday", "--address", NO_ADDRESS): "neither a duration nor a date",
    }
    for words, said in cases.items():
        done = bare_cli.raw("history", *words)
        assert (done.returncode, done.stdout) == (2, b""), words
        assert said in done.stderr.decode()
    unknown = team("nobody")
    assert unknown.returncode == 2
    assert b"has no job 'nobody'" in unknown.stderr
    assert f"history --team --address {NO_ADDRESS} --keeper http://127.0.0.1:".encode() in unknown.stderr
    assert b"RAYJOBS_USER is empty" in team("--mine", RAYJOBS_USER="").stderr
    none = bare_cli("history", "--team", address=NO_ADDRESS)
    assert none.returncode == 6
    assert b"No keeper of http://127.0.0.1:9 is known." in none.stderr
    away = bare_cli("history", "--team", "--keeper", NO_ADDRESS, address=NO_ADDRESS)
    assert away.returncode == 6
    assert b"Check --keeper. Does `python -m jobs keep " in away.stderr
