"""words and timeline: how a job ended and why, from its record."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from jobs.keeper.web.timeline import queue_seconds, run_seconds, timeline, total_seconds
from jobs.keeper.web.words import exit_words, job_name, outcome, reason, resubmit_command
from jobs.ledger.records import Entry, Origin, Place
from tests.support.keeper_page import TRACEBACK

ENTRY = Entry(
    "a", Place("uid/ns/ray", "stack", "dev", "ray", "ns"), Origin(), {"entrypoint": "python train.py"}, [], "", None,
    "ada", "laptop", 1000.0, "FAILED", 1100.0, 1, "JOB_ENTRYPOINT_COMMAND_ERROR",
    (("PENDING", 1000.0), ("RUNNING", 1010.0), ("FAILED", 1100.0)),
)  # fmt: skip


def entry(**changes: Any) -> Entry:
    return replace(ENTRY, **changes)


def reason_text(log_end: str = "", **changes: Any) -> str:
    found = reason(entry(**changes), log_end)
    return found.text if found else ""


def test_what_why_said_at_the_time_counts_most() -> None:
    why = {"at": 1101.0, "findings": [{"kind": "fact", "text": "It FAILED."}, {"kind": "cause", "text": "No memory."}]}
    why["findings"].append({"kind": "clue", "text": "The disk was full."})  # type: ignore[attr-defined]
    found = reason(entry(why=why), TRACEBACK)
    assert found is not None
    assert (found.text, found.clues, found.at) == ("No memory.", ("The disk was full.",), 1101.0)


@pytest.mark.parametrize(
    "why", [{}, {"findings": None}, {"findings": ["text", {"kind": 3}]}, {"at": "x", "findings": []}]
)
def test_a_damaged_why_is_left_out(why: dict[str, Any]) -> None:
    assert "ValueError: batch 17" in reason_text(TRACEBACK, why=why)


def test_the_exception_and_its_line_are_the_reason_of_a_program_that_failed() -> None:
    assert reason_text(TRACEBACK) == (
        "Its program failed: ValueError: batch 17 has 3 columns, and the model has 4 (train.py, line 8, in main)"
    )
    assert reason_text(message=TRACEBACK) == reason_text(TRACEBACK)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"driver_exit_code": 137}, "killed (SIGKILL), often because memory ran out"),
        ({"driver_exit_code": 7}, "exit code 7"),
        ({"driver_exit_code": None}, "Ray gave no reason"),
        ({"error_type": "JOB_SUPERVISOR_ACTOR_DIED", "message": "The node died."}, "its node or pod is gone"),
        ({"status": "LOST"}, "no longer knows it"),
        ({"status": "LOST", "message": "The head was replaced."}, "The head was replaced."),
        ({"status": "STOPPED"}, "It was stopped"),
        ({"status": "REFUSED"}, "never ran"),
        ({"status": "SUCCEEDED"}, ""),
        ({"status": "RUNNING"}, ""),
    ],
)
def test_every_end_has_plain_words(changes: dict[str, Any], words: str) -> None:
    assert words in reason_text(**changes)


def test_a_lost_job_has_the_reason_that_the_keeper_recorded_and_what_was_found_then() -> None:
    why = {"at": 1.0, "findings": [{"kind": "cause", "text": "The head ran out of memory."}]}
    found = reason(entry(status="LOST", message="The head was replaced.", why=why))
    assert found is not None
    assert (found.text, found.clues) == ("The head was replaced.", ("The head ran out of memory.",))


def test_a_job_that_waits_has_the_reason_that_was_found() -> None:
    why = {"at": 1.0, "findings": [{"kind": "cause", "text": "It needs 1 GPU.", "remedy": "Add one."}]}
    found = reason(entry(status="PENDING", why=why))
    assert found is not None
    assert (found.text, found.remedy) == ("It needs 1 GPU.", "Add one.")


def test_a_reason_shows_no_secret_and_no_control_character() -> None:
    text = reason_text(why={"findings": [{"kind": "cause", "text": "password=hunter2hunter2 \x1b[31m\u202e"}]})
    assert "hunter2" not in text
    assert text.endswith("\\x1b[31m\\u202e")


def test_exit_codes_have_words_also_those_of_signals() -> None:
    assert exit_words(127) == "the command was not found"
    assert exit_words(-9) == exit_words(137)
    assert exit_words(140) == "ended by signal 12"
    assert exit_words(3) == exit_words(255) == "an error that the program chose"


def test_the_outcome_is_one_line() -> None:
    assert outcome(entry(), 2000.0) == "Failed with exit code 1 after 1m40s"
    assert outcome(entry(status="RUNNING"), 1060.0) == "Running, 1m00s since its submission"


def test_the_command_that_submits_again_is_whole_and_quoted() -> None:
    assert resubmit_command(entry()).endswith("rerun a")
    spec = {
        "entrypoint": "python a.py --x 'y z'",
        "runtime_env": {"env_vars": {"A": "it's"}},
        "entrypoint_num_cpus": 2.0,
    }
    command = resubmit_command(entry(source="seen", spec=spec))
    assert command.endswith(
        """submit --entrypoint-num-cpus 2.0 --runtime-env-json '{"env_vars": {"A": "it'"'"'s"}}' """
        "-- python a.py --x 'y z'"
    )


def test_the_name_is_that_of_the_metadata() -> None:
    assert job_name(entry()) == ""
    assert job_name(entry(spec={"entrypoint": "x", "metadata": {"name": "nightly\x07"}})) == "nightly\\x07"


def test_the_time_line_has_each_state_with_its_duration() -> None:
    steps = timeline(entry(), 5000.0)
    assert [(step.status, step.seconds, step.is_now) for step in steps] == [
        ("PENDING", 10.0, False), ("RUNNING", 90.0, False), ("FAILED", None, False),
    ]  # fmt: skip
    running = timeline(entry(status="RUNNING", changes=ENTRY.changes[:2]), 1030.0)[-1]
    assert (running.seconds, running.is_now) == (20.0, True)


def test_a_job_that_was_seen_late_has_its_begin_in_the_time_line() -> None:
    steps = timeline(entry(changes=(("FAILED", 1100.0),), started_at=1000.0), 5000.0)
    assert [(step.words, step.seconds) for step in steps] == [("Accepted", 100.0), ("Failed", None)]


def test_no_duration_is_negative_when_a_clock_jumps() -> None:
    jumped = entry(changes=(("PENDING", 2000.0), ("RUNNING", 1500.0), ("FAILED", 1400.0)), started_at=2000.0)
    assert [step.seconds for step in timeline(jumped, 0.0)] == [0.0, 0.0, None]
    assert (queue_seconds(jumped), run_seconds(jumped), total_seconds(jumped, 0.0)) == (0.0, 0.0, 0.0)


def test_durations_are_known_only_of_jobs_that_ran() -> None:
    assert (queue_seconds(ENTRY), run_seconds(ENTRY)) == (10.0, 90.0)
    assert (queue_seconds(entry(changes=())), run_seconds(entry(changes=()))) == (None, None)
    assert run_seconds(entry(status="RUNNING")) is None
