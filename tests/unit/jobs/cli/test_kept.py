"""What the keeper answers for a job that Ray has forgotten: real commands, a real keeper, a head that forgets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from jobs.ledger.records import Origin, Tail
from jobs.ledger.records import Place as LedgerPlace
from jobs.ledger.store import Ledger
from jobs.spec.job_spec import JobSpec
from tests.support.command import NO_ADDRESS, Cli, wait_until
from tests.support.fake_ray import FakeRay, fake_ray
from tests.support.http_server import JsonHandler, serve
from tests.support.keeper_page import TOKEN, Page, failed, job, serving

LOG = b"Running entrypoint\n\xff\x1b[32mepoch 1\r\n" + b"".join(b"step %d\n" % n for n in range(50_000))


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    page = Page(tmp_path / "kept")
    yield page
    page.keeping.close()


@pytest.fixture
def keeper(page: Page) -> Iterator[str]:
    with serving(page.app) as url:
        yield url


@pytest.fixture
def ray() -> Iterator[FakeRay]:
    with fake_ray() as ray:
        yield ray


@pytest.fixture
def ask(bare_cli: Cli, ray: FakeRay, keeper: str):  # type: ignore[no-untyped-def]
    """Runs a command at the head that forgets, with the keeper and the token."""

    def run(*words: str, keeper: str = keeper, address: str | None = None) -> CompletedProcess[bytes]:
        return bare_cli(*words, "--keeper", keeper, address=address or ray.url, RAY_AUTH_TOKEN=TOKEN)

    return run


def test_a_forgotten_log_comes_whole_from_the_keeper_and_its_origin_is_said(page: Page, ask) -> None:  # type: ignore[no-untyped-def]
    page.keep(job("a"), logs={"a": LOG})
    done = ask("logs", "a")
    assert (done.returncode, done.stdout) == (0, LOG)
    assert b"Ray no longer knows a. This is what the keeper at http://127.0.0.1:" in done.stderr


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--tail", "2"), b"step 49998\nstep 49999\n"),
        (("--tail", "0"), b""),
        (("--offset", str(len(LOG) - 6)), b"49999\n"),
        (("--offset", str(len(LOG))), b""),
        (("--since", "2030-01-01"), b""),
    ],
)
def test_a_forgotten_log_is_cut_as_one_of_ray_is(
    page: Page,
    ask,  # type: ignore[no-untyped-def]
    options: tuple[str, ...],
    expected: bytes,
) -> None:
    page.keep(job("a"), logs={"a": LOG})
    done = ask("logs", "a", *options)
    assert (done.returncode, done.stdout) == (0, expected), done.stderr


def test_a_forgotten_log_is_saved_to_a_file(page: Page, ask, bare_cli: Cli) -> None:  # type: ignore[no-untyped-def]
    page.keep(job("a"), logs={"a": LOG})
    done = ask("logs", "a", "--save", "a.log")
    assert (done.returncode, done.stdout) == (0, b"")
    assert (bare_cli.cwd / "a.log").read_bytes() == LOG


def test_a_kept_job_without_a_log_still_has_its_result(page: Page, ask) -> None:  # type: ignore[no-untyped-def]
    page.keep(failed("a"))
    following = ask("logs", "--follow", "a")
    assert (following.returncode, following.stdout) == (1, b"")
    assert b"has job a (FAILED), but no log of it." in following.stderr
    assert ask("logs", "a").returncode == 0


def test_a_file_that_cannot_be_written_is_the_error(page: Page, ask) -> None:  # type: ignore[no-untyped-def]
    page.keep(job("a"), logs={"a": LOG})
    done = ask("logs", "a", "--save", "no/such/folder/a.log")
    assert done.returncode == 2
    assert b"Error: Could not write no/such/folder/a.log" in done.stderr


def test_bytes_that_the_keeper_did_not_keep_are_said_and_not_replaced(tmp_path: Path, bare_cli: Cli) -> None:
    from jobs.ledger.keeping import Keeping, Limits

    page = Page(tmp_path / "kept")
    page.keeping.close()
    page.keeping = Keeping(tmp_path / "kept", page.keeping.place, Limits(log_bytes=1024 * 1024))
    log = b"".join(b"line %9d\n" % n for n in range(300_000))
    page.keep(job("a"), logs={"a": log})
    extent = page.kept.log_extent("a")
    assert extent is not None
    assert extent.gap is not None
    with serving(page.app) as url, fake_ray() as ray:
        whole = bare_cli("logs", "a", "--keeper", url, address=ray.url, RAY_AUTH_TOKEN=TOKEN)
        end = bare_cli("logs", "a", "--tail", "100000", "--keeper", url, address=ray.url, RAY_AUTH_TOKEN=TOKEN)
    page.keeping.close()
    begin, stop = extent.gap
    assert whole.stdout == log[:begin] + log[stop:]
    assert f"{stop - begin} bytes of the log are not kept: {begin} to {stop - 1}.".encode() in whole.stderr
    # Not what is before the gap: these are not the last lines.
    assert end.stdout == log[stop:]


def test_following_goes_on_at_the_keeper_with_the_byte_at_which_ray_lost_the_job(
    page: Page, ask, ray: FakeRay, bare_cli: Cli, keeper: str
) -> None:  # type: ignore[no-untyped-def]
    ray.add("a", log=LOG[:300_000])
    page.keep(job("a", "RUNNING"))
    page.keeping.append_log("a", LOG)
    page.keeping.flush()
    environ = {"RAY_AUTH_TOKEN": TOKEN}
    words = bare_cli.command("logs", "--follow", "a", "--keeper", keeper, "--save", "a.log", address=ray.url)[3:]
    following = bare_cli.start_raw(*words, **environ)
    saved = bare_cli.cwd / "a.log"
    wait_until(lambda: saved.exists() and saved.stat().st_size == 300_000, 60)
    ray.replace_head()
    # The keeper sees it a moment later than the follower.
    page.keeping.record_lost(["a"], "The head was replaced.")
    _, said = following.communicate(timeout=120)
    assert saved.read_bytes() == LOG
    assert following.returncode == 4
    assert b"From byte 300000 on, the log is what the keeper at " in said
    assert b"Job a is lost" in said


def test_a_submit_that_follows_ends_with_the_kept_log_and_result(
    page: Page, ray: FakeRay, bare_cli: Cli, keeper: str
) -> None:
    digest = {"rayjobs.spec_sha256": JobSpec("python train.py").digest}
    ray.add("a", log=LOG[:300_000], metadata=digest)
    page.keep(job("a"), logs={"a": LOG})
    words = ("submit", "--submission-id", "a", "--address", ray.url, "--keeper", keeper, "--", "python", "train.py")
    following = bare_cli.start_raw(*words, RAY_AUTH_TOKEN=TOKEN)
    assert following.stdout is not None
    begin = following.stdout.read(300_000)
    ray.replace_head()
    rest, said = following.communicate(timeout=120)
    assert begin + rest == LOG
    assert following.returncode == 0
    assert b"From byte 300000 on, the log is what the keeper at " in said


def test_a_log_that_is_gone_with_its_node_comes_from_the_keeper(page: Page, ask, ray: FakeRay) -> None:  # type: ignore[no-untyped-def]
    ray.add("a", "SUCCEEDED")
    page.keep(job("a"), logs={"a": LOG})
    done = ask("logs", "--follow", "a")
    assert (done.returncode, done.stdout) == (0, LOG)
    assert b"This is what the keeper at " in done.stderr
    assert b"no longer knows" not in done.stderr


@pytest.mark.parametrize(
    ("status", "code"), [("SUCCEEDED", 0), ("FAILED", 1), ("STOPPED", 3), ("LOST", 4), ("RUNNING", 4)]
)
def test_wait_ends_with_the_kept_result_of_a_forgotten_job(page: Page, ask, status: str, code: int) -> None:  # type: ignore[no-untyped-def]
    page.keep(job("a", "RUNNING" if status == "LOST" else status))
    if status == "LOST":
        page.keeping.record_lost(["a"], "The head was replaced.")
    done = ask("wait", "a", "--output", "json")
    assert done.returncode == code
    assert json.loads(done.stdout)["status"] == ("LOST" if status == "RUNNING" else status)
    assert b"Ray no longer knows a. This is what the keeper at " in done.stderr


def test_wait_gives_the_keeper_time_to_record_an_end_that_it_sees_a_moment_later(
    page: Page, bare_cli: Cli, ray: FakeRay, keeper: str
) -> None:
    page.keep(job("a", "RUNNING"))
    words = bare_cli.command("wait", "a", "--keeper", keeper, address=ray.url)[3:]
    waiting = bare_cli.start_raw(*words, RAY_AUTH_TOKEN=TOKEN)
    assert waiting.stderr is not None
    # Ray's answer is in; the line comes when a wait is longer than a moment.
    line = b""
    while b"has recorded the end of job a" not in line and (line := waiting.stderr.readline()):
        pass
    page.keep(job("a", "SUCCEEDED"))
    waiting.communicate(timeout=60)
    assert waiting.returncode == 0


def test_wait_takes_each_job_from_whoever_knows_it_in_the_order_that_was_asked_for(
    page: Page, ask, ray: FakeRay
) -> None:  # type: ignore[no-untyped-def]
    ray.add("here", "SUCCEEDED")
    ray.add("there", "STOPPED")
    page.keep(failed("gone"), job("here"))
    done = ask("wait", "there", "gone", "here", "--output", "json")
    assert [(each["submission_id"], each["status"]) for each in json.loads(done.stdout)] == [
        ("there", "STOPPED"),
        ("gone", "FAILED"),
        ("here", "SUCCEEDED"),
    ]
    assert done.returncode == 1


def test_many_forgotten_jobs_are_awaited_together(page: Page, bare_cli: Cli, ray: FakeRay, keeper: str) -> None:
    names = [f"j{n}" for n in range(20)]
    page.keep(*(job(name, "RUNNING") for name in names))
    # Each by itself would take longer than the command may.
    done = bare_cli("wait", *names, "--keeper", keeper, address=ray.url, RAY_AUTH_TOKEN=TOKEN, timeout=120)
    assert done.returncode == 4
    assert b"Ray no longer knows j0, j1, " in done.stderr


def test_a_job_that_nobody_knows_is_refused_as_without_a_keeper(page: Page, ask) -> None:  # type: ignore[no-untyped-def]
    page.keep(job("a"))
    for words in (("wait", "nobody"), ("status", "a", "nobody"), ("logs", "nobody"), ("why", "nobody")):
        done = ask(*words)
        assert done.returncode == 2, words
        assert b"no longer knows" not in done.stderr
        assert b"nobody" in done.stderr + done.stdout


def test_status_shows_what_was_kept_with_the_times_and_why(page: Page, ask, ray: FakeRay) -> None:  # type: ignore[no-untyped-def]
    ray.add("here", "SUCCEEDED", b"")
    page.keep(failed("gone", user="ada"))
    text = ask("status", "gone").stdout.decode()
    assert "status:     FAILED" in text
    assert "user:       ada" in text
    assert "why:        Its program failed: ValueError: batch 17 has 3 columns" in text
    assert text.splitlines()[-1].endswith("  FAILED")
    both = ask("status", "gone", "here", "--output", "json")
    assert [each["status"] for each in json.loads(both.stdout)] == ["FAILED", "SUCCEEDED"]
    assert b"Ray no longer knows gone." in both.stderr


def test_if_ray_does_not_answer_a_kept_end_counts_and_a_kept_job_that_ran_does_not(page: Page, ask) -> None:  # type: ignore[no-untyped-def]
    page.keep(job("ended"), job("ran", "RUNNING"), logs={"ended": LOG})
    page.keeping.append_log("ran", b"step 1\n")
    page.keeping.flush()
    ended = ask("wait", "ended", address=NO_ADDRESS)
    assert ended.returncode == 0
    assert b"Ray does not answer: " in ended.stderr
    for command in ("wait", "status"):
        ran = ask(command, "ran", address=NO_ADDRESS)
        assert (ran.returncode, ran.stdout) == (6, b"")
        assert b"kept" not in ran.stderr
    log = ask("logs", "--follow", "ran", address=NO_ADDRESS)
    assert (log.returncode, log.stdout) == (6, b"step 1\n")
    assert b"Error: Could not connect to " in log.stderr
    assert ask("logs", "ended", address=NO_ADDRESS).stdout == LOG


def test_why_shows_what_was_recorded_when_it_failed_and_when_that_was(page: Page, ask, ray: FakeRay) -> None:  # type: ignore[no-untyped-def]
    page.keep(failed("a"))
    finding = {"kind": "cause", "text": "The node was drained.", "remedy": "rayjobs rerun a"}
    page.keeping.record_why("a", [finding], at=1_700_000_100.0)
    forgotten = ask("why", "a")
    assert forgotten.returncode == 0
    lines = forgotten.stdout.decode().splitlines()
    assert lines[0].startswith("Job a is FAILED since 2023-11-1")
    assert lines[0].endswith(", exit code 1.")
    assert lines[1].startswith("Recorded at 2023-11-1")
    assert lines[2:] == ["cause:    The node was drained.", "          -> rayjobs rerun a"]
    ray.add("a", "FAILED")
    known = ask("why", "a").stdout.decode()
    assert known.startswith("Job a FAILED")
    assert " by the keeper at http://127.0.0.1:" in known
    assert known.endswith("cause:    The node was drained.\n          -> rayjobs rerun a\n")
    data = json.loads(ask("why", "a", "--output", "json").stdout)
    assert data["kept"] == {
        "at": 1_700_000_100.0,
        "status": "FAILED",
        "findings": [{"kind": "cause", "text": "The node was drained.", "do": "rayjobs rerun a"}],
    }


def test_why_reads_the_kept_log_if_nothing_was_recorded(page: Page, ask) -> None:  # type: ignore[no-untyped-def]
    log = b"Traceback (most recent call last):\n  File \"train.py\", line 3, in <module>\nKeyError: 'lr'\n"
    page.keep(job("a", "FAILED", driver_exit_code=1), logs={"a": log})
    done = ask("why", "a")
    assert "cause:    Its program failed: KeyError: 'lr' (train.py, line 3" in done.stdout.decode()


def test_a_keeper_that_cannot_be_asked_costs_one_line_and_changes_nothing_else(bare_cli: Cli, ray: FakeRay) -> None:
    ray.add("here", "SUCCEEDED", b"")
    for words in (("wait", "gone"), ("status", "gone"), ("logs", "gone"), ("why", "here"), ("status", "here")):
        without = bare_cli(*words, address=ray.url, RAY_AUTH_TOKEN=TOKEN)
        with_one = bare_cli(*words, "--keeper", NO_ADDRESS, address=ray.url, RAY_AUTH_TOKEN=TOKEN)
        assert (with_one.returncode, with_one.stdout) == (without.returncode, without.stdout)
        said = with_one.stderr.decode().replace(f" --keeper {NO_ADDRESS}", "").splitlines()
        before = without.stderr.decode().splitlines()
        extra = [line for line in said if line not in before and not line.startswith("Waiting for an answer from ")]
        told = f"The keeper of {ray.url} could not be asked: "
        assert [line[: len(told)] for line in extra] == ([] if words == ("status", "here") else [told])


def test_a_token_that_the_keeper_refuses_is_said(page: Page, bare_cli: Cli, keeper: str, ray: FakeRay) -> None:
    page.keep(job("a"))
    done = bare_cli("status", "a", "--keeper", keeper, address=ray.url, RAY_AUTH_TOKEN="another")
    assert done.returncode == 2
    assert b"refuses this request (HTTP 401): This token is not the right one." in done.stderr
    assert b"another" not in done.stderr


class NoKeeper(JsonHandler):
    """Something else answers there."""

    def do_GET(self) -> None:
        self.answer({"jobs": "none", "submission_id": 7})


def test_another_server_in_place_of_the_keeper_is_said_and_not_believed(bare_cli: Cli, ray: FakeRay) -> None:
    with serve(NoKeeper) as url:
        done = bare_cli("status", "a", "--keeper", url, address=ray.url, RAY_AUTH_TOKEN=TOKEN)
        listed = bare_cli("history", "--team", "--keeper", url, address=ray.url, RAY_AUTH_TOKEN=TOKEN)
    assert done.returncode == 2
    assert b"does not answer as a keeper of this version (HTTP 200)" in done.stderr
    assert listed.returncode == 6
    assert b"`rayjobs keep` says where it listens" in listed.stderr


def test_the_keeper_has_the_whole_log_so_it_comes_before_the_local_job_history(
    page: Page, ask, ray: FakeRay, bare_cli: Cli
) -> None:  # type: ignore[no-untyped-def]
    ledger = Ledger(Path(bare_cli.environ["HOME"]) / ".local/state/rayjobs/ledger.sqlite")
    place = LedgerPlace(ray.url, "address")
    ledger.record_submission("a", JobSpec("python train.py"), place, Origin())
    ledger.record_tail("a", place.identity, Tail(b"only the end", 5000))
    page.keep(job("a"), logs={"a": LOG})
    assert ask("logs", "a").stdout == LOG
    instead = ask("logs", "a", keeper=NO_ADDRESS)
    assert (instead.returncode, instead.stdout) == (0, b"only the end")
    assert b"From the ledger: " in instead.stderr


def test_a_kept_end_is_recorded_in_the_local_job_history(page: Page, ask, ray: FakeRay, bare_cli: Cli) -> None:  # type: ignore[no-untyped-def]
    path = Path(bare_cli.environ["HOME"]) / ".local/state/rayjobs/ledger.sqlite"
    ledger = Ledger(path)
    # The cluster has one name for the ledger and for its keeper.
    ledger.record_submission("a", JobSpec("python train.py"), page.keeping.place, Origin())
    page.keep(failed("a"))
    assert ask("wait", "a").returncode == 1
    entry = ledger.get("a")
    assert entry is not None
    assert (entry.status, entry.driver_exit_code) == ("FAILED", 1)


def test_a_later_command_learns_from_a_real_keeper_how_a_job_ended_before_the_head_was_replaced(
    bare_cli: Cli, tmp_path: Path
) -> None:
    with fake_ray(token=TOKEN) as ray:
        ray.add("ended", "FAILED", LOG)
        ray.add("ran", log=b"epoch 1\n")
        words = ("keep", "--data", str(tmp_path / "data"), "--listen", "127.0.0.1:0", "--address", ray.url)
        keeping = bare_cli.start_raw(*words, RAY_AUTH_TOKEN=TOKEN)
        assert keeping.stderr is not None
        try:
            said = (line.decode() for line in keeping.stderr)
            url = next(word.rstrip(".") for line in said if "Page: " in line for word in line.split() if "://" in word)

            def ask(*words: str) -> CompletedProcess[bytes]:
                return bare_cli(*words, "--keeper", url, address=ray.url, RAY_AUTH_TOKEN=TOKEN)

            wait_until(lambda: b"ended" in ask("history", "--team").stdout, 60)
            wait_until(lambda: ask("logs", "ended", "--offset", str(len(LOG) - 1)).stdout == b"\n", 60)
            ray.replace_head()
            ended = ask("wait", "ended")
            assert ended.returncode == 1
            assert b"Ray no longer knows ended. This is what the keeper at http://127.0.0.1:" in ended.stderr
            assert ask("logs", "ended").stdout == LOG
            ran = ask("wait", "ran", "--output", "json")
            assert (ran.returncode, json.loads(ran.stdout)["status"]) == (4, "LOST")
            assert ask("logs", "ran").stdout == b"epoch 1\n"
            listed = json.loads(ask("history", "--team", "--output", "json").stdout)
            assert {each["submission_id"]: each["status"] for each in listed} == {"ended": "FAILED", "ran": "LOST"}
        finally:
            keeping.kill()
            keeping.communicate()
