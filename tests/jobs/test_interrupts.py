"""Ctrl-C and SIGTERM in every phase: the job's fate is said and is what was asked for."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jobs.conftest import new_id, short_directory
from tests.support.command import Cli, wait_until
from tests.support.proxy import Faults, Proxy

SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


def end(process: subprocess.Popen[bytes], number: signal.Signals) -> tuple[int, bytes]:
    process.send_signal(number)
    _, err = process.communicate(timeout=90)
    assert b"Traceback" not in err
    return process.returncode, err


def status(cli: Cli, job: str) -> str:
    return str(json.loads(cli("status", job, "--output", "json").stdout)["status"])


def wait_for_output(process: subprocess.Popen[bytes], text: bytes) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == text:
            return


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_while_following_the_job_goes_on_and_the_way_back_is_said(cli: Cli, number: signal.Signals, code: int) -> None:
    job = new_id()
    process = cli.start("submit", "--submission-id", job, "--", "echo begun; sleep 600")
    wait_for_output(process, b"begun")
    ended, said = end(process, number)
    assert ended == code
    assert f"logs --follow {job}".encode() in said
    assert status(cli, job) == "RUNNING"
    cli("stop", job)


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_stop_on_interrupt_stops_the_job(cli: Cli, number: signal.Signals, code: int) -> None:
    job = new_id()
    process = cli.start("submit", "--submission-id", job, "--stop-on-interrupt", "--", "echo begun; sleep 600")
    wait_for_output(process, b"begun")
    ended, said = end(process, number)
    assert ended == code
    assert b"STOPPED" in said
    assert status(cli, job) == "STOPPED"


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_while_the_submission_is_unanswered_it_says_that_it_is_not_known(
    cli: Cli, proxy: Proxy, number: signal.Signals, code: int
) -> None:
    job = new_id()
    proxy.faults = Faults(delay_answer=lambda line: 60.0 if line.startswith("POST") else 0.0)
    process = cli.start("submit", "--submission-id", job, "--", "true", address=proxy.url)
    wait_until(lambda: "POST /api/jobs/" in proxy.requests)
    ended, said = end(process, number)
    assert ended == code
    assert b"may or may not" in said
    assert f"--submission-id {job}".encode() in said


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_while_uploading_nothing_is_submitted(cli: Cli, proxy: Proxy, number: signal.Signals, code: int) -> None:
    job = new_id()
    (cli.cwd / "data").write_text(job)
    proxy.faults = Faults(delay_answer=lambda line: 60.0 if line.startswith("PUT") else 0.0)
    process = cli.start("submit", "--submission-id", job, "--working-dir", ".", "--", "true", address=proxy.url)
    wait_until(lambda: any(line.startswith("PUT") for line in proxy.requests))
    ended, _ = end(process, number)
    assert ended == code
    assert cli("status", job).returncode == 2


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_while_packing_it_ends_at_once_and_says_that_nothing_was_submitted(
    cli: Cli, number: signal.Signals, code: int, tmp_path: Path
) -> None:
    directory = cli.cwd / "large"
    directory.mkdir()
    for i in range(20):
        (directory / f"{i}").write_bytes(bytes(20_000_000))
    process = cli.start("submit", "--working-dir", str(directory), "--", "true")
    wait_until(lambda: _reads(process.pid, str(directory)))
    ended, said = end(process, number)
    assert ended == code
    assert b"nothing was submitted" in said


def _reads(pid: int, directory: str) -> bool:
    """Whether the process has a file of the directory open."""
    try:
        return any(str(link.readlink()).startswith(directory) for link in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_while_waiting_or_stopping_it_ends_at_once(cli: Cli, proxy: Proxy, number: signal.Signals, code: int) -> None:
    job = new_id()
    cli("submit", "--no-wait", "--submission-id", job, "--", "sleep 600")
    proxy.faults = Faults(delay_answer=lambda line: 60.0 if line.startswith("POST") else 0.0)
    for command in ("wait", "stop"):
        before = len(proxy.requests)
        process = cli.start(command, job, address=proxy.url)
        wait_until(lambda seen=before: len(proxy.requests) > seen)  # type: ignore[misc]
        assert end(process, number)[0] == code
    cli("stop", job)


@pytest.fixture
def short() -> Iterator[Path]:
    path = short_directory()
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_while_a_local_ray_starts_it_ends_and_leaves_none(
    bare_cli: Cli, number: signal.Signals, code: int, short: Path
) -> None:
    bare_cli.environ["RAYJOBS_LOCAL_DIR"] = str(short)
    process = bare_cli.start_raw("submit", "--local", "--", "true")
    wait_until(lambda: (short / "start.log").exists())
    waiting = bare_cli.start_raw("list", "--local")
    wait_until(lambda: _reads(waiting.pid, str(short / "lock")))
    assert end(waiting, number)[0] == code
    ended, said = end(process, number)
    assert ended == code
    assert b"nothing was submitted" in said
    assert not (short / "state.json").exists()
    assert not running_with(str(short))


def running_with(text: str) -> list[str]:
    """The command lines of this machine's processes that name the text."""
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(line.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [each for each in found if text in each]


def ids_of(cli: Cli, name: str) -> list[str]:
    listed = json.loads(cli("list", "--output", "json").stdout)
    return [job["submission_id"] for job in listed if job["submission_id"].startswith(name)]


@pytest.mark.parametrize(("number", "code"), SIGNALS)
@pytest.mark.parametrize("asked_to_stop", [True, False])
def test_a_batch_is_left_running_or_stopped_as_asked(
    cli: Cli, number: signal.Signals, code: int, asked_to_stop: bool
) -> None:
    name = new_id()
    flags = ["--stop-on-interrupt"] if asked_to_stop else []
    process = cli.start("submit", "--sweep", "i=0..1", "--batch", name, *flags, "--", "sleep", "60{i}")
    assert process.stderr is not None
    seen = 0
    for line in process.stderr:
        seen += b"RUNNING" in line
        if seen == 2:
            break
    ended, said = end(process, number)
    ids = ids_of(cli, name)
    assert ended == code
    assert f"--resume --batch {name}".encode() in said
    if asked_to_stop:
        wait_until(lambda: [status(cli, job) for job in ids] == ["STOPPED"] * 2)
    else:
        assert [status(cli, job) for job in ids] == ["RUNNING"] * 2
        cli("stop", *ids)


def test_a_job_of_a_batch_that_was_just_being_sent_is_stopped_too(cli: Cli, proxy: Proxy) -> None:
    name = new_id()
    proxy.faults = Faults(delay_answer=lambda line: 60.0 if line == "POST /api/jobs/" else 0.0)
    words = ("submit", "--sweep", "i=0..1", "--batch", name, "--stop-on-interrupt", "--", "sleep", "60{i}")
    process = cli.start(*words, address=proxy.url)
    wait_until(lambda: proxy.requests.count("POST /api/jobs/") == 2)
    assert end(process, signal.SIGINT)[0] == 130
    ids = ids_of(cli, name)
    assert len(ids) == 2
    wait_until(lambda: [status(cli, job) for job in ids] == ["STOPPED"] * 2)


def test_before_anything_has_happened_a_signal_leaves_no_traceback(cli: Cli) -> None:
    for wait in (0.02, 0.1, 0.2):
        process = cli.start("submit", "--no-wait", "--submission-id", new_id(), "--", "true")
        time.sleep(wait)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
        assert process.returncode in (0, 143, -15)
        assert b"Traceback" not in err
