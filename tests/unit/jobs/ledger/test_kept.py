"""Reading kept jobs: pages, filters, searches, and ledgers that no keeper wrote."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from jobs.errors import Refused
from jobs.ledger import schema
from jobs.ledger.keeping import Keeping
from jobs.ledger.kept import KeptJobs
from jobs.ledger.store import Ledger
from jobs.spec.job_info import USER_KEY
from tests.support.keeper import PLACE, START, ids, running
from tests.support.ledger import record_all

JOBS = 120


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keeper"


@pytest.fixture
def keeping(folder: Path) -> Iterator[Keeping]:
    statuses = ("SUCCEEDED", "FAILED", "RUNNING")
    with Keeping(folder, PLACE) as opened:
        opened.record_seen(
            running(
                f"job-{i:03}",
                status=statuses[i % 3],
                start_time=START + i * 1000,
                metadata={"name": f"train-{i % 5}", USER_KEY: f"user-{i % 4}", "Team": f"Größe {i % 6}"},
                message=f"100%_sure {i}" if i % 10 == 0 else "",
            )
            for i in range(JOBS)
        )
        yield opened


def test_pages_have_every_job_once_newest_first(keeping: Keeping, folder: Path) -> None:
    found, page = [], KeptJobs(folder).jobs(limit=7)
    while True:
        found += [entry.submission_id for entry in page.entries]
        if page.cursor is None:
            break
        keeping.record_seen([running(f"later-{len(found)}", start_time=START + 10**9)])  # It moves nothing.
        page = KeptJobs(folder).jobs(limit=7, cursor=page.cursor)
    assert found == [f"job-{i:03}" for i in reversed(range(JOBS))]


def test_jobs_of_the_same_moment_are_on_one_page_each(keeping: Keeping, folder: Path) -> None:
    keeping.record_seen([running(f"same-{i}", start_time=START + 10**9) for i in range(10)])
    first = KeptJobs(folder).jobs(name="same", limit=4)
    second = KeptJobs(folder).jobs(name="same", limit=6, cursor=first.cursor)
    assert [entry.submission_id for entry in first.entries + second.entries] == [f"same-{i}" for i in range(10)][::-1]


def test_a_search_finds_what_the_server_said_last(keeping: Keeping, folder: Path) -> None:
    keeping.record_seen([running("job-007", status="FAILED", start_time=START + 7000, message="a\0b: Out of MEMORY")])
    assert ids(folder, search="b: out of memory") == ["job-007"]
    assert ids(folder, search="a\0b") == ["job-007"]


def test_a_search_for_a_very_long_text_is_refused(keeping: Keeping, folder: Path) -> None:
    with pytest.raises(Refused, match="1001 characters"):
        KeptJobs(folder).jobs(search="x" * 1001)


def test_the_last_page_has_no_cursor(keeping: Keeping, folder: Path) -> None:
    assert KeptJobs(folder).jobs(limit=JOBS).cursor is None
    assert KeptJobs(folder).jobs(limit=JOBS - 1).cursor is not None


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"status": ["RUNNING"]}, {i for i in range(JOBS) if i % 3 == 2}),
        ({"status": ["RUNNING", "FAILED"]}, {i for i in range(JOBS) if i % 3}),
        ({"status": ["LOST"]}, set()),
        ({"user": "user-1"}, {i for i in range(JOBS) if i % 4 == 1}),
        ({"name": "train-3"}, {i for i in range(JOBS) if i % 5 == 3}),
        ({"name": "job-01"}, set(range(10, 20))),
        ({"since": START / 1000 + 100}, set(range(100, JOBS))),
        ({"until": START / 1000 + 3}, {0, 1, 2}),
        ({"since": START / 1000 + 5, "until": START / 1000 + 7}, {5, 6}),
        ({"search": "JOB-01"}, set(range(10, 20))),
        ({"search": "grösse 4"}, {i for i in range(JOBS) if i % 6 == 4}),
        ({"search": "0%_SURE 3"}, {30}),
        ({"search": "0__sure"}, set()),
        (
            {"search": "python TRAIN.py", "user": "user-0", "status": ["FAILED"]},
            {i for i in range(JOBS) if i % 12 == 4},
        ),
        ({"search": "nothing has this"}, set()),
    ],
)
def test_a_filter_gives_exactly_the_jobs_that_it_names(
    filters: dict[str, object], expected: set[int], keeping: Keeping, folder: Path
) -> None:
    assert ids(folder, limit=1000, **filters) == [f"job-{i:03}" for i in sorted(expected, reverse=True)]


@pytest.mark.parametrize("cursor", ["", "x", "1_", "_1", "1.0", "e_1", "1_2_3", "1" * 50 + "_1"])
def test_a_cursor_of_somebody_else_is_refused(cursor: str, keeping: Keeping, folder: Path) -> None:
    with pytest.raises(Refused, match="not valid"):
        KeptJobs(folder).jobs(cursor=cursor)


def test_counts_are_by_status(keeping: Keeping, folder: Path) -> None:
    assert KeptJobs(folder).counts() == {"SUCCEEDED": 40, "FAILED": 40, "RUNNING": 40}


def test_a_folder_without_a_database_has_nothing_and_stays_without_one(folder: Path) -> None:
    reader = KeptJobs(folder)
    assert (reader.jobs().entries, reader.counts(), reader.events(), reader.bytes_kept()) == ([], {}, [], 0)
    assert (reader.job("a"), reader.log_extent("a"), list(reader.read_log("a"))) == (None, None, [])
    assert not folder.exists()


def test_a_personal_ledger_is_read_like_a_keepers(folder: Path) -> None:
    record_all(Ledger(folder / "ledger.sqlite"))
    assert ids(folder, search="TRAIN.PY", status=["RUNNING"]) == ["a"]
    assert KeptJobs(folder).log_extent("a") is None


@pytest.mark.parametrize("version", [1, 2])
def test_a_ledger_of_an_earlier_version_can_be_searched_and_kept_in(version: int, folder: Path) -> None:
    folder.mkdir()
    path = folder / "ledger.sqlite"
    spec = '{"entrypoint": "python Old.py", "metadata": {"name": "night", "team": "Blue"}}'
    with closing(sqlite3.connect(path)) as db, db:
        for script in schema._MIGRATIONS[:version]:
            db.executescript(script)
        db.execute(f"PRAGMA user_version = {version}")
        db.execute(
            "INSERT INTO submission (submission_id, identity, kind, attempt, spec, withheld, digest, user, host,"
            " created, status, status_at) VALUES ('old', 'x', 'address', 0, ?, '[]', 'd', 'u', 'h', 1, 'RUNNING', 1)",
            (spec,),
        )
        db.execute("INSERT INTO tail VALUES (1, ?, 3)", (zlib.compress(b"end"),))
    assert ids(folder, name="night") == ids(folder, search="old.PY") == ids(folder, search="blue") == ["old"]
    with Keeping(folder, PLACE) as keeping:
        keeping.record_seen([running("new")])
    entry = KeptJobs(folder).job("old")
    assert entry is not None
    assert (entry.source, entry.message, entry.started_at, entry.why) == ("submitted", None, None, None)
    tail = Ledger(path).tail("old")
    assert tail is not None
    assert tail.data == b"end"
    assert ids(folder) == ["new", "old"]


def test_a_spec_that_nobody_can_read_stops_no_migration(folder: Path) -> None:
    folder.mkdir()
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as db, db:
        for script in schema._MIGRATIONS[:2]:
            db.executescript(script)
        db.execute("PRAGMA user_version = 2")
        db.execute(
            "INSERT INTO submission (submission_id, identity, kind, attempt, spec, withheld, digest, user, host,"
            " created, status, status_at) VALUES ('odd', 'x', 'address', 0, '{', '[]', 'd', 'u', 'h', 1, 'RUNNING', 1)"
        )
    assert KeptJobs(folder).counts() == {"RUNNING": 1}
