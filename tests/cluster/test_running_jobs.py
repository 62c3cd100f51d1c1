"""What `make destroy --jobs ...` does about jobs that run, on a real head through a real tunnel."""

from __future__ import annotations

import threading
import uuid
from pathlib import Path

import pytest

from jobs import connect
from ops import running_jobs
from tests.support.ray_head import RayHead


@pytest.fixture
def outputs(ray_head: RayHead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAYJOBS_LEDGER", str(tmp_path / "ledger"))
    return ray_head.write_contract(tmp_path / "outputs.json")


def test_a_job_that_was_waited_for_ends_by_itself(ray_head: RayHead, outputs: Path) -> None:
    name = f"waited-{uuid.uuid4().hex[:8]}"
    with connect(outputs=outputs) as client:
        client.submit("sleep 5; echo done", submission_id=name)
        running_jobs.wait_or_stop(ray_head.contract(), "wait")
        assert client.get(name).status == "SUCCEEDED"
    assert running_jobs.refusals(ray_head.contract()) == []


def test_a_wait_for_a_job_goes_on_until_it_has_ended(ray_head: RayHead, outputs: Path) -> None:
    name = f"endless-{uuid.uuid4().hex[:8]}"
    with connect(outputs=outputs) as client:
        client.submit("sleep 600", submission_id=name)
        waiting = threading.Thread(target=running_jobs.wait_or_stop, args=(ray_head.contract(), "wait"))
        waiting.start()
        waiting.join(5)
        assert waiting.is_alive()
        running_jobs.wait_or_stop(ray_head.contract(), "stop")
        waiting.join(60)
        assert not waiting.is_alive()
        assert client.get(name).status == "STOPPED"
