"""A rerun takes its job from the ledger."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import Refused
from jobs.ledger.records import Origin
from jobs.ledger.store import Ledger
from jobs.packages import PackagePlanner
from jobs.rerun import find_rerun, prepare_rerun
from jobs.spec.job_spec import JobRequest, JobSpec
from jobs.submit import prepare
from tests.support.directories import write
from tests.support.ledger import PLACE, SPEC


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ledger.sqlite"


def test_rerun_takes_withheld_variables_from_the_environment(path: Path) -> None:
    ledger = Ledger(path)
    spec = JobSpec("python t.py", {"env_vars": {"HF_TOKEN": "abc", "MODE": "x"}}, entrypoint_num_gpus=0.5)
    ledger.record_submission("a", spec, PLACE, Origin(working_dir="./src"))
    with pytest.raises(Refused, match=r"runtime_env\.env_vars\.HF_TOKEN"):
        find_rerun(ledger, "a", {})
    again = find_rerun(ledger, "a", {"HF_TOKEN": "abc"})
    assert again.spec == spec
    assert (again.submission_id, again.origin.attempt_of, again.origin.working_dir) == ("a-r1", "a", "./src")


def test_reruns_are_numbered_and_linked_to_the_first(path: Path) -> None:
    ledger = Ledger(path)
    ledger.record_submission("a", SPEC, PLACE, Origin())
    for expected in ("a-r1", "a-r2"):
        again = find_rerun(ledger, "a" if expected == "a-r1" else "a-r1")
        assert again.submission_id == expected
        ledger.record_submission(again.submission_id, again.spec, PLACE, again.origin)
    assert [entry.submission_id for entry in ledger.attempts("a")] == ["a", "a-r1", "a-r2"]


def test_rerun_of_an_unknown_job_names_history(path: Path) -> None:
    with pytest.raises(Refused, match="history"):
        find_rerun(Ledger(path), "nope")


@pytest.mark.parametrize("runtime_env", [{"pip": "r.txt"}, {"pip": {"packages": "r.txt"}}, {"conda": "e.yml"}], ids=str)
def test_rerun_never_sends_the_path_that_an_earlier_version_recorded(path: Path, runtime_env: dict[str, Any]) -> None:
    ledger = Ledger(path)
    ledger.record_submission("a", JobSpec("true", runtime_env), PLACE, Origin())
    with pytest.raises(Refused, match="without the content of the file"):
        find_rerun(ledger, "a")


def test_rerun_has_the_content_of_the_requirements_file(path: Path, tmp_path: Path) -> None:
    (tmp_path / "r.txt").write_text("numpy==2.1.0\n")
    spec, _ = asyncio.run(PackagePlanner().plan(JobSpec("true", {"pip": str(tmp_path / "r.txt")})))
    ledger = Ledger(path)
    ledger.record_submission("a", spec, PLACE, Origin())
    (tmp_path / "r.txt").unlink()
    assert find_rerun(ledger, "a").spec.runtime_env == {"pip": ["numpy==2.1.0"]}


def test_rerun_packs_the_modules_again_that_are_unchanged(path: Path, source: Path, monkeypatch: Any) -> None:
    for name in ("main.py", "ours/__init__.py", "theirs.py"):
        write(source / name)
    monkeypatch.chdir(source)
    modules = ["ours", "s3://bucket/remote.zip", "theirs.py"]
    request = JobRequest(JobSpec("true", {"working_dir": ".", "py_modules": modules}), submission_id="a")
    first = asyncio.run(prepare(request))
    ledger = Ledger(path)
    ledger.record_submission("a", first.spec, PLACE, first.origin)
    monkeypatch.chdir("/")
    again = asyncio.run(prepare_rerun(find_rerun(ledger, "a")))
    assert again.spec == first.spec
    assert again.origin.modules == (str(source / "ours"), modules[1], str(source / "theirs.py"))
    assert [plan.uri for plan in again.plans] == [plan.uri for plan in first.plans]
    write(source / "theirs.py", "changed")
    again = asyncio.run(prepare_rerun(find_rerun(ledger, "a")))
    # The directory contains the changed file too.
    assert [plan.uri for plan in again.plans] == [first.spec.modules[0]]
