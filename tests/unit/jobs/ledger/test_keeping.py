"""A keeper's folder: what is recorded of jobs, and what is removed again."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from jobs.errors import LedgerFault, Refused
from jobs.ledger import keeping as keeping_module
from jobs.ledger.git import Commit
from jobs.ledger.keeping import Keeping, Limits
from jobs.ledger.kept import KeptJobs
from jobs.ledger.records import DELETED, Origin
from jobs.ledger.store import Ledger
from jobs.rerun import find_rerun
from jobs.spec.job_info import (
    COMMIT_KEY,
    DIGEST_KEY,
    DIRTY,
    LOST,
    PACKAGE_BYTES_KEY,
    RESOURCES_KEY,
    USER_KEY,
    JobInfo,
)  # fmt: skip
from tests.support.command import ROOT
from tests.support.keeper import PLACE, START, ids, running
from tests.support.ledger import SPEC

DAY = 86400.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keeper"


@pytest.fixture
def keeping(folder: Path) -> Iterator[Keeping]:
    with Keeping(folder, PLACE) as opened:
        yield opened


def state_of(folder: Path) -> str:
    return hashlib.sha256((folder / "ledger.sqlite").read_bytes()).hexdigest()


def test_a_job_of_any_client_is_recorded_with_what_the_server_says(keeping: Keeping, folder: Path) -> None:
    metadata = {"name": "nightly", USER_KEY: "ada", DIGEST_KEY: "d1", RESOURCES_KEY: '{"num_cpus": 2, "memory": "x"}'}
    metadata |= {COMMIT_KEY: f"c0ffee12{DIRTY}", PACKAGE_BYTES_KEY: "1234"}
    runtime_env = {"working_dir": "gcs://_ray_pkg_1.zip"}
    seen = JobInfo("a", "PENDING", "python t.py", start_time=START, metadata=metadata, runtime_env=runtime_env)
    keeping.record_seen([seen])
    seen = seen._replace(driver_node_id="node1", job_id="01000000")
    keeping.record_seen([seen._replace(status="RUNNING")])
    seen = seen._replace(end_time=START + 60_000, driver_exit_code=3)
    keeping.record_seen([seen._replace(status="FAILED", message="exit 3", error_type="E")])
    entry = KeptJobs(folder).job("a")
    assert entry is not None
    assert entry.spec == {
        "entrypoint": "python t.py",
        "runtime_env": runtime_env,
        "metadata": {"name": "nightly"},
        "entrypoint_num_cpus": 2,
    }
    assert (entry.user, entry.digest, entry.source, entry.place) == ("ada", "d1", "seen", PLACE)
    assert (entry.origin.commit, entry.origin.package_bytes) == (Commit("c0ffee12", True), 1234)
    assert (entry.package, entry.metadata) == ("gcs://_ray_pkg_1.zip", {"name": "nightly"})
    assert (entry.driver_node, entry.job_id, entry.message, entry.error_type) == ("node1", "01000000", "exit 3", "E")
    assert (entry.started_at, entry.ended_at, entry.driver_exit_code) == (START / 1000, START / 1000 + 60, 3)
    assert [status for status, _ in entry.changes] == ["PENDING", "RUNNING", "FAILED"]
    assert (entry.changes[0][1], entry.changes[-1][1]) == (START / 1000, START / 1000 + 60)
    said = [(event.submission_id, event.data) for event in KeptJobs(folder).events() if event.kind == "status"]
    assert said == [
        ("a", {"status": "PENDING", "before": None}),
        ("a", {"status": "RUNNING", "before": "PENDING"}),
        ("a", {"status": "FAILED", "before": "RUNNING"}),
    ]


@pytest.mark.parametrize(
    "metadata",
    [
        {COMMIT_KEY: "<script>", PACKAGE_BYTES_KEY: "-1"},
        {COMMIT_KEY: DIRTY, PACKAGE_BYTES_KEY: "9" * 30},
        {COMMIT_KEY: "c0ffee12 ", PACKAGE_BYTES_KEY: "٣"},
        {},
    ],
)
def test_a_commit_and_a_size_that_are_none_are_left_out(
    keeping: Keeping, folder: Path, metadata: dict[str, str]
) -> None:
    keeping.record_seen([JobInfo("a", "RUNNING", "x", start_time=START, metadata=metadata)])
    entry = KeptJobs(folder).job("a")
    assert entry is not None
    assert (entry.origin.commit, entry.origin.package_bytes) == (None, None)


def test_a_poll_of_a_thousand_unchanged_jobs_writes_nothing(folder: Path) -> None:
    def listed() -> list[JobInfo]:
        return [running(f"job-{i}", message="m", metadata={"token": "x"}) for i in range(1000)]

    with Keeping(folder, PLACE) as keeping:
        keeping.record_seen(listed())
        before, changes = state_of(folder), keeping._db.total_changes
        keeping.record_seen(listed())
        assert (state_of(folder), keeping._db.total_changes) == (before, changes)
    with Keeping(folder, PLACE) as keeping:  # It knows nothing of the polls before.
        before, changes = state_of(folder), keeping._db.total_changes
        keeping.record_seen(listed())
        assert (state_of(folder), keeping._db.total_changes) == (before, changes)
        keeping.record_seen([*listed()[:-1], running("job-999", status="SUCCEEDED")])
        assert ids(folder, status=["SUCCEEDED"]) == ["job-999"]


def test_a_lost_job_is_corrected_when_the_server_speaks_of_it_again(keeping: Keeping, folder: Path) -> None:
    keeping.record_seen([running("a"), running("b", status="SUCCEEDED")])
    keeping.record_lost(["a", "b"], "The head was replaced.")
    entry = KeptJobs(folder).job("a")
    assert entry is not None
    assert (entry.status, entry.message) == (LOST, "The head was replaced.")
    assert ids(folder, status=["SUCCEEDED"]) == ["b"]
    keeping.record_seen([running("a"), running("b", status="SUCCEEDED")])
    entry = KeptJobs(folder).job("a")
    assert entry is not None
    assert [status for status, _ in entry.changes] == ["RUNNING", LOST, "RUNNING"]
    assert entry.message == ""


def test_an_id_that_is_used_again_is_a_new_submission(keeping: Keeping, folder: Path) -> None:
    keeping.record_seen([running("a", status="FAILED")])
    keeping.record_seen([running("a", status="PENDING", start_time=START + 5_000)])
    assert [entry.status for entry in KeptJobs(folder).jobs().entries] == ["PENDING", "FAILED"]
    keeping.record_seen([running("a", status="SUCCEEDED", start_time=START + 5_000)])
    assert [entry.status for entry in KeptJobs(folder).jobs().entries] == ["SUCCEEDED", "FAILED"]


def test_a_job_that_this_machine_submitted_is_not_recorded_twice(keeping: Keeping, folder: Path) -> None:
    ledger = Ledger(folder / "ledger.sqlite")
    ledger.record_submission("a", SPEC, PLACE, Origin(key="nightly"))
    keeping.record_seen([running("a")])
    (entry,) = ledger.history()
    assert (entry.status, entry.source, entry.origin.key) == ("RUNNING", "submitted", "nightly")
    assert entry.started_at == START / 1000


def test_a_job_that_this_machine_deleted_and_somebody_submits_again_is_a_new_one(
    keeping: Keeping, folder: Path
) -> None:
    ledger = Ledger(folder / "ledger.sqlite")
    ledger.record_submission("a", SPEC, PLACE, Origin())
    ledger.record_status("a", PLACE.identity, DELETED)
    keeping.record_seen([running("a")])
    assert [(entry.status, entry.source) for entry in ledger.history()] == [
        ("RUNNING", "seen"),
        (DELETED, "submitted"),
    ]


def test_an_attempt_is_linked_to_its_first_job(keeping: Keeping, folder: Path) -> None:
    keeping.record_seen([running("a"), running("a-r1", start_time=START + 1), running("b-r1")])
    attempts = Ledger(folder / "ledger.sqlite").attempts("a")
    assert [(each.submission_id, each.origin.attempt) for each in attempts] == [("a", 0), ("a-r1", 1)]
    entry = KeptJobs(folder).job("b-r1")
    assert entry is not None
    assert entry.origin.attempt_of is None


def test_no_secret_of_a_job_reaches_the_database(keeping: Keeping, folder: Path) -> None:
    secret = "hunter2hunter2"
    seen = running(
        "a",
        status="FAILED",
        entrypoint=f"API_KEY={secret} python t.py",
        message=f"failed: https://u:{secret}@host/",
        error_type=f"--password {secret}",
        metadata={"client_secret": secret, USER_KEY: f"API_KEY={secret}", "name": f"token={secret}"},
        runtime_env={"env_vars": {"HF_TOKEN": secret}, "working_dir": f"https://u:{secret}@host/x.zip"},
    )
    keeping.record_seen([seen])
    keeping.record_lost(["a"], f"password={secret}")
    keeping.record_why("a", [{"kind": "cause", "text": f"password={secret}"}])
    keeping.record_event("head_replaced", {"url": f"https://u:{secret}@host/"})
    assert secret.encode() not in (folder / "ledger.sqlite").read_bytes()
    entry = KeptJobs(folder).job("a")
    assert entry is not None
    assert "runtime_env.env_vars.HF_TOKEN" in entry.withheld


def test_hostile_texts_are_recorded_as_texts(keeping: Keeping, folder: Path) -> None:
    text = "<script>\x00\x1b[31m \ud800 '; DROP TABLE submission"
    keeping.record_seen([running("a", message=text, metadata={"name": text, RESOURCES_KEY: '{"resources": ["x"]}'})])
    entry = KeptJobs(folder).job("a")
    assert entry is not None
    assert entry.message is not None
    assert entry.message.startswith("<script>\x00\x1b[31m ?")
    assert "entrypoint_resources" not in entry.spec
    assert ids(folder, name=text.replace("\ud800", "?")) == ["a"]


def test_what_why_said_is_kept_with_its_time(keeping: Keeping, folder: Path) -> None:
    keeping.record_seen([running("a")])
    keeping.record_why("a", [{"kind": "cause", "text": "Out of memory."}], at=12.5)
    entry = KeptJobs(folder).job("a")
    assert entry is not None
    assert entry.why == {"at": 12.5, "findings": [{"kind": "cause", "text": "Out of memory."}]}
    assert entry.as_json()["why"]["at"] == 12.5
    # Why it waited is not why it runs, or why it failed.
    keeping.record_seen([running("a")._replace(status="FAILED", end_time=START + 1)])
    entry = KeptJobs(folder).job("a")
    assert entry is not None
    assert entry.why is None


def test_a_job_is_unfinished_until_it_has_ended_and_its_log_is_complete(keeping: Keeping) -> None:
    keeping.record_seen([running(name) for name in "abcd"])
    for name in "abc":
        keeping.append_log(name, b"x")
    keeping.record_seen([running("a"), *(running(name, status="SUCCEEDED") for name in "bcd")])
    keeping.finish_log("b")
    keeping.flush()
    assert [entry.submission_id for entry in keeping.unfinished()] == ["a", "c"]
    keeping.record_seen([running("c", start_time=START + 1, status="STOPPED")])
    keeping.finish_log("c")
    assert [entry.submission_id for entry in keeping.unfinished()] == ["a"]


def test_the_jobs_that_ended_first_go_first_and_running_ones_never(folder: Path) -> None:
    with Keeping(folder, PLACE) as keeping:
        keeping.record_seen([running(f"job-{i}") for i in range(6)])
        ends = {0: 50, 1: 10, 2: 30, 3: 20, 4: 40}
        seen = [running(f"job-{i}", status="FAILED", end_time=START + end * 1000) for i, end in ends.items()]
        keeping.record_seen([*seen, running("job-5")])
        for i in range(6):
            keeping.append_log(f"job-{i}", os.urandom(100_000))
        for i in ends:
            keeping.finish_log(f"job-{i}")
        keeping.flush()
    with Keeping(folder, PLACE, Limits(retain_bytes=350_000)) as keeping:
        assert keeping.retain() == ["job-1", "job-3", "job-2"]
        assert keeping.retain() == []
        assert sorted(ids(folder)) == ["job-0", "job-4", "job-5"]
        assert KeptJobs(folder).bytes_kept() <= 350_000
        assert len(list((folder / "logs").iterdir())) == 3
        assert KeptJobs(folder).events()[-1].data == {"submission_ids": ["job-1", "job-3", "job-2"]}
    with Keeping(folder, PLACE, Limits(retain_bytes=0)) as keeping:
        assert keeping.retain() == ["job-4", "job-0"]
        assert ids(folder) == ["job-5"]
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as db:
        for table in ("submission", "search", "log", "log_piece"):
            assert db.execute(f"SELECT count(*) FROM {table}").fetchone() == (1,)


def test_an_ended_job_goes_after_its_days(folder: Path) -> None:
    with Keeping(folder, PLACE, Limits(retain_days=2)) as keeping:
        end = START + 60_000
        keeping.record_seen([running("a"), running("b")])
        keeping.record_seen([running("a", status="SUCCEEDED", end_time=end), running("b")])
        assert keeping.retain(end / 1000 + 2 * DAY - 1) == []
        assert keeping.retain(end / 1000 + 2 * DAY + 1) == ["a"]
        assert keeping.retain(end / 1000 + 100_000 * DAY) == []
        assert ids(folder) == ["b"]


def test_a_clock_that_jumps_ahead_removes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Keeping(folder, PLACE, Limits(retain_days=2)) as keeping:
        end = time.time() - DAY
        keeping.record_seen([running("a", status="SUCCEEDED", end_time=int(end * 1000))])
        monkeypatch.setattr(time, "time", lambda: end + 3650 * DAY)
        assert keeping.retain() == []
        keeping.record_seen([running("b", status="SUCCEEDED", end_time=int(end * 1000))])
        assert ids(folder) == ["b", "a"]
        assert keeping.retain(end + 3650 * DAY) == ["a", "b"]


def test_a_job_that_is_too_old_is_not_recorded_again(folder: Path) -> None:
    """Ray lists an ended job as long as its head lives."""
    listed = [running("a", status="SUCCEEDED", end_time=START + 1)]
    with Keeping(folder, PLACE) as keeping:
        keeping.record_seen(listed)
    with Keeping(folder, PLACE, Limits(retain_days=1)) as keeping:
        keeping.record_seen(listed)
        assert keeping.retain() == ["a"]
        keeping.record_seen(listed)
        assert ids(folder) == []
    with Keeping(folder, PLACE, Limits(retain_days=1)) as keeping:
        keeping.record_seen(listed)
        assert ids(folder) == []


def test_jobs_that_went_for_their_bytes_do_not_come_back_after_a_restart(folder: Path) -> None:
    """Otherwise each start would read the logs of all jobs again that Ray still lists."""
    listed = [running(name, status="SUCCEEDED", end_time=START + at * 1000) for at, name in enumerate("abc", 1)]
    with Keeping(folder, PLACE, Limits(retain_bytes=150)) as keeping:
        keeping.record_seen(listed)
        for name in "abc":
            keeping.append_log(name, os.urandom(90))
            keeping.finish_log(name)
        assert keeping.retain() == ["a", "b"]
    with Keeping(folder, PLACE, Limits(retain_bytes=150)) as keeping:
        keeping.record_seen([*listed, running("d", status="SUCCEEDED", end_time=START + 4000)])
        assert sorted(ids(folder)) == ["c", "d"]


def test_old_events_are_removed(keeping: Keeping, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping_module, "MOST_EVENTS", 10)
    for i in range(30):
        keeping.record_event("head_replaced", {"i": i})
    keeping.retain()
    events = KeptJobs(folder).events()
    assert [event.data["i"] for event in events] == list(range(20, 30))
    assert KeptJobs(folder).events(after=events[-2].seq) == events[-1:]
    assert KeptJobs(folder).events(limit=3) == events[:3]


def test_a_second_keeper_is_refused_by_the_name_of_the_first(keeping: Keeping, folder: Path) -> None:
    script = "import sys\nfrom tests.support.log_writing import *\nKeeping(sys.argv[1], PLACE)"
    command = [sys.executable, "-c", script, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert f"Another keeper uses {folder}: process {os.getpid()} on" in done.stderr
    with pytest.raises(LedgerFault, match="Another keeper"):
        Keeping(folder, PLACE)
    keeping.close()
    Keeping(folder, PLACE).close()


@pytest.mark.parametrize("damage", ["garbage", "truncated", "overwritten in the middle", "empty", "removed"])
def test_a_damaged_database_is_set_aside_with_its_logs_and_a_new_one_begins(damage: str, folder: Path) -> None:
    with Keeping(folder, PLACE) as keeping:
        keeping.record_seen([running(f"job-{i}", message="x " * 500) for i in range(50)])
        keeping.append_log("job-0", b"the log")
    path = folder / "ledger.sqlite"
    content = path.read_bytes()
    damaged = {
        "garbage": os.urandom(5000),
        "truncated": content[: len(content) // 2 + 100],
        "overwritten in the middle": content[:4096] + os.urandom(len(content) - 4096),
    }
    path.write_bytes(damaged.get(damage, b""))
    if damage == "removed":
        path.unlink()
    said: list[str] = []
    with Keeping(folder, PLACE, notify=said.append) as keeping:
        keeping.record_seen([running("new")])
        keeping.append_log("new", b"its log")
    assert ids(folder) == ["new"]
    assert b"".join(KeptJobs(folder).read_log("new")) == b"its log"
    assert len(said) == 1
    assert str(path) in said[0]
    (logs,) = folder.glob("logs.damaged-*")
    assert [file.name for file in logs.iterdir()] == ["1.z"]
    assert len(list(folder.glob("ledger.sqlite.damaged-*"))) == (damage != "removed")
    Keeping(folder, PLACE, notify=said.append).close()
    assert len(said) == 1


def test_a_database_that_is_damaged_while_it_is_used_says_so(keeping: Keeping, folder: Path) -> None:
    keeping.record_seen([running(f"job-{i}", message="x " * 500) for i in range(50)])
    path = folder / "ledger.sqlite"
    path.write_bytes(path.read_bytes()[:4096] + os.urandom(path.stat().st_size - 4096))
    with pytest.raises(LedgerFault) as caught:
        KeptJobs(folder).jobs()
    assert caught.value.damaged


def test_a_database_of_a_newer_version_is_left_alone(folder: Path) -> None:
    Keeping(folder, PLACE).close()
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as db:
        db.execute("PRAGMA user_version = 99")
    before = state_of(folder)
    with pytest.raises(LedgerFault, match="newer version"):
        Keeping(folder, PLACE)
    assert state_of(folder) == before


def test_limits_that_are_too_low_are_refused() -> None:
    with pytest.raises(Refused, match="too few for a log"):
        Limits(log_bytes=1000)
    with pytest.raises(Refused, match="retain_days is -1"):
        Limits(retain_days=-1)


def test_the_folder_is_for_its_owner_only(keeping: Keeping, folder: Path) -> None:
    keeping.record_seen([running("a")])
    keeping.append_log("a", b"x")
    keeping.flush()
    modes = {path.relative_to(folder).as_posix(): path.stat().st_mode & 0o777 for path in folder.rglob("*")}
    assert modes == {"ledger.sqlite": 0o600, "keeper.lock": 0o600, "logs": 0o700, "logs/1.z": 0o600}


def test_history_and_rerun_read_a_keepers_ledger(keeping: Keeping, folder: Path) -> None:
    keeping.record_seen([running("a", metadata={"name": "nightly"}, runtime_env={"env_vars": {"HF_TOKEN": "x" * 20}})])
    environ = {**os.environ, "RAYJOBS_LEDGER": str(folder / "ledger.sqlite")}

    def history(*words: str) -> str:
        command = [sys.executable, "-m", "jobs", "history", *words]
        return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True).stdout

    assert "python train.py" in history()
    shown = history("a")
    assert "runtime_env.env_vars.HF_TOKEN" in shown
    assert "RUNNING" in shown
    assert '"source": "seen"' in history("a", "--output", "json")
    job = find_rerun(Ledger(folder / "ledger.sqlite"), "a", {"HF_TOKEN": "y"})
    assert (job.submission_id, job.spec.metadata) == ("a-r1", {"name": "nightly"})
