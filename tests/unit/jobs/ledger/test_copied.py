"""A copy of the jobs of one cluster: complete, and nothing of another one."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from jobs.errors import LedgerFault
from jobs.ledger.copied import copy_jobs
from jobs.ledger.keeping import Keeping
from jobs.ledger.kept import KeptJobs
from jobs.ledger.records import Origin, Place, Tail
from jobs.ledger.store import Ledger
from jobs.spec.job_spec import JobSpec
from tests.support.keeper_page import job

HERE = Place("uid/ns/ray", "stack", "dev", "ray", "ns")
OTHER = Place("uid/ns/other", "stack", "dev", "other", "ns")
LOCAL = [Place(f"http://127.0.0.1:{port}", "local") for port in (1, 2)]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(tmp_path / "mine" / "ledger.sqlite")
    for submission_id, place in (("a", HERE), ("b", OTHER), ("l1", LOCAL[0]), ("l2", LOCAL[1])):
        ledger.record_submission(submission_id, JobSpec(f"python {submission_id}.py"), place, Origin())
        ledger.record_status(submission_id, place.identity, "RUNNING")
        ledger.record_tail(submission_id, place.identity, Tail(b"end\n", 4))
    return ledger


def test_the_jobs_of_one_cluster_are_copied_with_all_that_is_known_of_them(ledger: Ledger, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    copy_jobs(ledger.path, folder, identity=HERE.identity, kind="stack")
    copied = Ledger(folder / "ledger.sqlite")
    assert copied.history() == ledger.history(identity=HERE.identity)
    assert copied.get("a") == ledger.get("a")
    assert copied.tail("a") == ledger.tail("a")
    assert copied.tail("b") is None
    assert [entry.submission_id for entry in KeptJobs(folder).jobs(search="PYTHON A").entries] == ["a"]
    assert KeptJobs(folder).jobs(search="python b").entries == []
    assert stat.S_IMODE(copied.path.stat().st_mode) == 0o600
    assert len(ledger.history()) == 4


def test_a_local_ray_has_another_name_each_time_so_all_local_jobs_are_copied(ledger: Ledger, tmp_path: Path) -> None:
    copy_jobs(ledger.path, tmp_path, identity=None, kind="local")
    assert {entry.submission_id for entry in Ledger(tmp_path / "ledger.sqlite").history()} == {"l1", "l2"}


def test_a_keeper_goes_on_with_the_copy(ledger: Ledger, tmp_path: Path) -> None:
    copy_jobs(ledger.path, tmp_path, identity=HERE.identity, kind="stack")
    with Keeping(tmp_path, HERE) as keeping:
        keeping.record_seen([job("a", "SUCCEEDED")])
    entry = Ledger(tmp_path / "ledger.sqlite").get("a")
    assert entry is not None
    assert (entry.status, entry.source) == ("SUCCEEDED", "submitted")
    assert [status for status, _ in entry.changes] == ["SUBMITTING", "RUNNING", "SUCCEEDED"]


def test_without_a_ledger_nothing_is_copied_and_a_damaged_one_is_said(tmp_path: Path) -> None:
    copy_jobs(tmp_path / "none.sqlite", tmp_path, identity=None, kind="local")
    assert not (tmp_path / "ledger.sqlite").exists()
    damaged = tmp_path / "damaged.sqlite"
    damaged.write_bytes(b"no database " * 1000)
    with pytest.raises(LedgerFault, match="damaged") as fault:
        copy_jobs(damaged, tmp_path, identity=None, kind="local")
    assert fault.value.damaged
