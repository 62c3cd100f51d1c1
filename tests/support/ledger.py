"""A job for the ledger."""

from __future__ import annotations

from jobs.ledger.records import Origin, Place, Tail
from jobs.ledger.store import Ledger
from jobs.spec.job_spec import JobSpec

PLACE = Place("uid-1/ns/ray", "stack", "dev", "ray", "ns")


SPEC = JobSpec("python train.py", {"working_dir": "gcs://_ray_pkg_1.zip"}, {"team": "a"}, entrypoint_num_cpus=1)


def record_all(ledger: Ledger) -> None:
    """Records a submission, a status and the end of a log."""
    ledger.record_submission("a", SPEC, PLACE, Origin())
    ledger.record_status("a", PLACE.identity, "RUNNING")
    ledger.record_tail("a", PLACE.identity, Tail(b"x", 1))
