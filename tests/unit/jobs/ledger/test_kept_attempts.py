"""Kept jobs: the two questions of the page, attempts at the same work and the newest event."""

from __future__ import annotations

from pathlib import Path

from jobs.ledger.keeping import Keeping
from jobs.ledger.kept import KeptJobs
from tests.support.keeper import PLACE, START, running


def test_every_attempt_names_all_of_them_in_order(tmp_path: Path) -> None:
    with Keeping(tmp_path, PLACE) as keeping:
        later = [running(f"work-r{n}", start_time=START + n) for n in (2, 10)]
        keeping.record_seen([running("work"), running("worker"), *later])
    kept = KeptJobs(tmp_path)
    for submission_id in ("work", "work-r2", "work-r10"):
        assert [entry.submission_id for entry in kept.attempts(submission_id)] == ["work", "work-r2", "work-r10"]
    assert [entry.submission_id for entry in kept.attempts("worker")] == ["worker"]
    assert kept.attempts("none") == []


def test_the_newest_event_is_the_last_one_and_0_without_any(tmp_path: Path) -> None:
    kept = KeptJobs(tmp_path)
    assert kept.newest_event() == 0
    with Keeping(tmp_path, PLACE) as keeping:
        keeping.record_seen([running("a"), running("b")])
        assert kept.newest_event() == kept.events()[-1].seq == 3
