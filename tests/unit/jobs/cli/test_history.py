"""`history` answers without a cluster."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.ledger.records import Tail
from jobs.ledger.store import Ledger
from tests.support.command import ROOT
from tests.support.ledger import PLACE, record_all


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ledger.sqlite"


def history(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = "from jobs.cli.runner import report\nfrom jobs.cli.history import history_command\nimport sys\n"
    script += "try: history_command.main(standalone_mode=False)\nexcept Exception as e: sys.exit(report(e))"
    command = [sys.executable, "-c", script, *arguments, "--ledger", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def test_history_answers_without_a_cluster_in_text_and_json(path: Path) -> None:
    record_all(Ledger(path))
    shown = history(path)
    assert shown.returncode == 0, shown.stderr
    assert "python train.py" in shown.stdout
    assert json.loads(history(path, "--output", "json").stdout)[0]["status"] == "RUNNING"
    assert json.loads(history(path, "a", "--output", "json").stdout)["changes"][0]["status"] == "SUBMITTING"
    assert json.loads(history(path, "--status", "lost", "--output", "json").stdout) == []


def test_history_of_an_unknown_job_is_refused(path: Path) -> None:
    record_all(Ledger(path))
    shown = history(path, "nope")
    assert shown.returncode == 2
    assert "'nope'" in shown.stderr


def test_the_kept_end_of_a_log_is_given_as_bytes_and_said_to_be_one(
    path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    from jobs.cli.ledger_log import find_log, print_ledger_log

    ledger = Ledger(path)
    record_all(ledger)
    ledger.record_tail("a", PLACE.identity, Tail(b"\xff\r\x1b[0mend", 5000))
    print_ledger_log(find_log(ledger, "a"))
    captured = capfdbinary.readouterr()
    assert captured.out == b"\xff\r\x1b[0mend"
    assert b"the last 9 of 5000 bytes" in captured.err
