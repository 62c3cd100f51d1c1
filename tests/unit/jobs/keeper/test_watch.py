"""The jobs of a cluster are recorded as Ray lists them, whatever happens to Ray."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.errors import LedgerFault
from jobs.keeper import watch
from jobs.keeper.keeper import NOT_READ
from jobs.keeper.watch import FORGOTTEN, REPLACED
from jobs.spec.job_info import USER_KEY
from tests.support.fake_ray import fake_ray
from tests.support.keeper_loop import be_fast, looping, until


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    be_fast(monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "kept"


def test_every_job_is_kept_whoever_submitted_it(folder: Path) -> None:
    with fake_ray() as ray:
        ray.add("stock")
        ray.add("ours", "FAILED", b"Traceback", metadata={"name": "train", USER_KEY: "ada"}, error_type="X")
        ray.add("waits", "PENDING")
        with looping(ray, folder) as loop:
            until(lambda: len(loop.kept.jobs().entries) == 3)
            ours = loop.job("ours")
            assert (ours.user, ours.metadata, ours.driver_exit_code, ours.error_type, ours.driver_node) == (
                "ada", {"name": "train"}, 1, "X", "node-1",
            )  # fmt: skip
            ray.run("waits")
            until(lambda: loop.status("waits") == "RUNNING")
            ray.end("waits", "STOPPED")
            until(lambda: loop.status("waits") == "STOPPED")
            assert [status for status, _ in loop.job("waits").changes] == ["PENDING", "RUNNING", "STOPPED"]


def test_a_look_is_one_list_request_whatever_the_number_of_jobs(folder: Path) -> None:
    with fake_ray() as ray:
        for i in range(100):
            ray.add(f"job-{i}", log=b"x")
        with looping(ray, folder) as loop:
            until(lambda: ray.requests["/api/jobs/"] >= 10)
            assert len(loop.kept.jobs(limit=500).entries) == 100
        assert ray.requests["/api/jobs/ID"] == 0
        assert ray.requests["/api/version"] <= 2


def test_a_thousand_jobs_that_are_submitted_at_once_are_kept_with_their_logs(folder: Path) -> None:
    with fake_ray() as ray, looping(ray, folder) as loop:
        until(lambda: ray.requests["/api/jobs/"])
        for i in range(1000):
            ray.add(f"job-{i}", "PENDING")
        until(lambda: loop.kept.counts() == {"PENDING": 1000})
        for i in range(1000):
            ray.logs[f"job-{i}"] = b"line of job %d\n" % i * 100
            ray.run(f"job-{i}")
        for i in range(1000):
            ray.end(f"job-{i}")
        until(lambda: loop.kept.counts() == {"SUCCEEDED": 1000}, 120)
        until(lambda: all(loop.is_complete(f"job-{i}") for i in range(1000)), 120)
        assert all(loop.log(f"job-{i}") == ray.log(f"job-{i}") for i in range(1000))


def test_a_job_that_three_looks_do_not_find_is_lost(folder: Path) -> None:
    with fake_ray() as ray:
        ray.add("a", log=b"before")
        ray.add("done", "SUCCEEDED", b"log")
        with looping(ray, folder) as loop:
            until(lambda: loop.log("a") == b"before" and loop.is_complete("done"))
            ray.jobs.clear()
            until(lambda: loop.status("a") == "LOST")
            assert (loop.job("a").message, loop.status("done")) == (FORGOTTEN, "SUCCEEDED")
            assert not loop.events("head_replaced")
            until(lambda: loop.events("why"))
            until(lambda: not loop.keeper._followers._logs and not loop.keeper._followers._done)
            assert (loop.log("a"), loop.is_complete("a")) == (b"before", False)


def test_a_job_that_comes_back_is_corrected_and_its_log_goes_on(folder: Path) -> None:
    with fake_ray() as ray:
        ray.add("a", log=b"before, ")
        with looping(ray, folder) as loop:
            until(lambda: loop.log("a") == b"before, ")
            record = ray.jobs.pop("a")
            until(lambda: loop.status("a") == "LOST")
            ray.jobs["a"] = record
            ray.write("a", b"after")
            ray.end("a")
            until(lambda: loop.is_complete("a"))
            assert (loop.status("a"), loop.log("a")) == ("SUCCEEDED", b"before, after")


def test_when_the_head_is_replaced_its_jobs_are_lost_with_that_reason(folder: Path) -> None:
    with fake_ray() as ray:
        ray.add("a", log=b"x")
        with looping(ray, folder) as loop:
            until(lambda: loop.status("a") == "RUNNING")
            ray.replace_head()
            ray.add("b")
            until(lambda: loop.status("a") == "LOST" and loop.status("b") == "RUNNING")
            assert loop.job("a").message == REPLACED
            (event,) = loop.events("head_replaced")
            assert event == {"before": "session_1, node node-1", "now": "session_2, node node-1"}


def test_a_head_with_fault_tolerance_is_another_one_with_the_same_jobs(folder: Path) -> None:
    with fake_ray() as ray:
        ray.add("a", log=b"before, ")
        with looping(ray, folder) as loop:
            until(lambda: loop.log("a") == b"before, ")
            ray.fails_with = 503
            until(lambda: loop.keeper.state().problems)
            ray.node_id = "node-2"
            ray.fails_with = None
            until(lambda: loop.events("head_replaced"))
            ray.write("a", b"after")
            ray.end("a")
            until(lambda: loop.is_complete("a"))
            assert (loop.status("a"), loop.log("a")) == ("SUCCEEDED", b"before, after")


def test_a_new_head_that_does_not_know_its_node_yet_is_another_one_by_its_session(folder: Path) -> None:
    with fake_ray() as ray:
        ray.add("a", log=b"x")
        with looping(ray, folder) as loop:
            until(lambda: loop.status("a") == "RUNNING")
            ray.node_id = ""
            ray.replace_head()
            until(lambda: loop.status("a") == "LOST")
            assert loop.job("a").message == REPLACED
            ray.add("b", log=b"x")
            until(lambda: loop.status("b") == "RUNNING")
            ray.node_id = "node-2"
            ray.jobs.clear()
            until(lambda: loop.status("b") == "LOST")
            # The same head, which knows its node now.
            assert loop.job("b").message == FORGOTTEN
            assert loop.events("head_replaced") == [{"before": "session_1, node node-1", "now": "session_2"}]


def test_a_head_that_was_replaced_while_the_keeper_was_down_is_recorded_once(folder: Path) -> None:
    with fake_ray() as ray:
        ray.add("a", log=b"x")
        with looping(ray, folder) as loop:
            until(lambda: loop.log("a") == b"x")
        ray.replace_head()
        for _ in range(2):
            with looping(ray, folder) as loop:
                until(lambda: loop.status("a") == "LOST")
                assert loop.job("a").message == REPLACED
                assert len(loop.events("head_replaced")) == 1


@pytest.mark.parametrize("status", [500, 503, 0])
def test_while_ray_fails_it_says_so_once_and_then_catches_up(status: int, folder: Path) -> None:
    with fake_ray() as ray:
        ray.add("a", log=b"before, ")
        with looping(ray, folder) as loop:
            until(lambda: loop.log("a") == b"before, ")
            ray.fails_with = status
            until(lambda: loop.keeper.state().problems)
            assert loop.keeper.state().problems[0].startswith("Ray has not answered since 2")
            ray.write("a", b"during, ")
            ray.add("b", "SUCCEEDED", b"log of b")
            until(lambda: (loop.keeper.state().behind_seconds or 0) > 1.5)
            ray.write("a", b"after")
            ray.end("a")
            ray.fails_with = None
            until(lambda: loop.is_complete("a") and loop.is_complete("b"))
            assert (loop.log("a"), loop.log("b")) == (b"before, during, after", b"log of b")
            until(lambda: not loop.keeper.state().problems)
            said = [message.partition(" since")[0] for message in loop.messages]
            assert said == ["Ray has not answered", "Ray answers again."]


def test_a_token_that_is_refused_is_named_and_a_rotated_one_is_followed(folder: Path, tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.write_text("old")
    with fake_ray(token="old") as ray:
        ray.add("a", log=b"one, ")
        with looping(ray, folder, token_file=token_file) as loop:
            until(lambda: loop.log("a") == b"one, ")
            ray.token = "new"
            until(lambda: loop.keeper.state().problems)
            (problem,) = loop.keeper.state().problems
            assert problem.startswith("Ray has accepted no request since ")
            assert "old" not in problem
            token_file.write_text("new")
            ray.write("a", b"two")
            ray.end("a")
            until(lambda: loop.is_complete("a"))
            assert loop.log("a") == b"one, two"


def test_before_the_first_answer_it_does_not_keep(folder: Path) -> None:
    with fake_ray(fails_with=503) as ray, looping(ray, folder) as loop:
        assert loop.keeper.state().problems == (NOT_READ,)
        assert loop.keeper.state().behind_seconds is None
        ray.fails_with = None
        until(lambda: not loop.keeper.state().problems)


def test_an_id_that_is_used_again_is_another_job_with_its_own_log(folder: Path) -> None:
    with fake_ray() as ray:
        ray.add("a", "FAILED", b"the first")
        with looping(ray, folder) as loop:
            until(lambda: loop.is_complete("a"))
            del ray.jobs["a"]
            ray.add("a", log=b"", start_time=1_800_000_000_000)
            ray.write("a", b"the second")
            until(lambda: loop.log("a") == b"the second")
            ray.end("a")
            until(lambda: loop.is_complete("a"))
            assert [entry.status for entry in loop.kept.jobs().entries] == ["SUCCEEDED", "FAILED"]


def test_an_id_that_is_used_again_while_its_log_was_read_gets_no_byte_of_the_old_one(folder: Path) -> None:
    with fake_ray() as ray:
        ray.add("a", log=b"old " * 1000)
        with looping(ray, folder) as loop:
            for turn in range(1, 6):
                until(lambda: loop.log("a"))
                ray.jobs["a"]["start_time"] += turn
                ray.logs["a"] = b"%d" % turn * 100
                until(lambda turn=turn: loop.log("a") == b"%d" % turn * 100)


def test_a_second_keeper_of_a_folder_is_refused(folder: Path) -> None:
    with (
        fake_ray() as ray,
        looping(ray, folder),
        pytest.raises(LedgerFault, match="Another keeper uses"),
        looping(ray, folder),
    ):
        pass


def test_why_is_recorded_when_a_job_fails_but_not_of_jobs_that_failed_before(folder: Path) -> None:
    with fake_ray() as ray:
        ray.add("old", "FAILED", b"old error")
        ray.add("a", log=b"line\n")
        with looping(ray, folder) as loop:
            until(lambda: loop.status("a") == "RUNNING")
            ray.write("a", b"Traceback (most recent call last):\nValueError: three columns\n")
            ray.end("a", "FAILED")
            until(lambda: loop.job("a").why)
            why = loop.job("a").why
            assert why is not None
            assert any("three columns" in finding["text"] for finding in why["findings"])
            assert loop.job("old").why is None


def test_why_is_recorded_of_a_job_that_waits_for_long(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "WAITS_SECONDS", 0.2)
    monkeypatch.setattr(watch, "WAITS_AGAIN_SECONDS", 0.2)
    with fake_ray() as ray:
        ray.add("a", "PENDING", metadata={"rayjobs.entrypoint_resources": '{"num_gpus": 1}'})
        ray.add("runs")
        with looping(ray, folder) as loop:
            until(lambda: len(loop.events("why")) >= 2)
            why = loop.job("a").why
            assert why is not None
            assert any("needs 1 GPU" in finding["text"] for finding in why["findings"])
            assert loop.job("runs").why is None
