"""`rayjobs keep` as a process: what it says, how it ends, and that no kill loses a byte."""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from jobs.errors import Refused
from jobs.keeper.web.access import REFRESH_SECONDS
from jobs.ledger.kept import KeptJobs, LogExtent
from tests.support.command import Cli, cli_in
from tests.support.fake_ray import fake_ray
from tests.support.keeper_loop import until
from tests.support.keeper_process import keep

TOKEN = "the-token-of-this-ray"


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return cli_in(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "kept"


def log_of(folder: Path, submission_id: str) -> bytes:
    return b"".join(KeptJobs(folder).read_log(submission_id))


def test_a_keeper_that_is_killed_at_random_moments_keeps_every_byte(cli: Cli, folder: Path) -> None:
    ids = [f"job-{i}" for i in range(12)]
    source = random.Random(5)
    with fake_ray() as ray:
        for each in ids:
            ray.add(each, log=b"")
        stop, lock, run = threading.Event(), threading.Lock(), list(ids)

        def write() -> None:
            while not stop.wait(0.02):
                with lock:
                    ray.write(source.choice(run), source.randbytes(source.choice((1, 3000, 40_000))))

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for _ in range(6):
                with keep(cli, ray.url, folder) as keeper:
                    until(lambda keeper=keeper: keeper.lines)
                    time.sleep(0.3 + source.random() * 2)
                    keeper.process.kill()
                with lock:
                    ray.end(run.pop())
        finally:
            stop.set()
            writer.join()
        for each in run:
            ray.end(each)
        with keep(cli, ray.url, folder) as keeper:
            reader = KeptJobs(folder)
            until(lambda: all((extent := reader.log_extent(each)) and extent.complete for each in ids))
            assert keeper.end() == 0
        for each in ids:
            whole = ray.log(each)
            assert whole is not None
            assert reader.log_extent(each) == LogExtent(len(whole), None, True)
            assert hashlib.sha256(log_of(folder, each)).hexdigest() == hashlib.sha256(whole).hexdigest()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_code_0_and_all_that_was_read_is_written(cli: Cli, folder: Path, number: int) -> None:
    with fake_ray() as ray:
        ray.add("a", log=b"some bytes")
        with keep(cli, ray.url, folder) as keeper:
            until(lambda: ray.requests["/logs/ID"])
            assert keeper.end(number) == 0
            assert keeper.lines[-1] == "The keeper has stopped."
        assert log_of(folder, "a") == b"some bytes"


def test_an_open_stream_of_events_ends_with_the_keeper_and_without_an_error(cli: Cli, folder: Path) -> None:
    with fake_ray(token=TOKEN) as ray, keep(cli, ray.url, folder, token=TOKEN) as keeper:
        until(lambda: keeper.url)
        request = urllib.request.Request(f"{keeper.url}/v1/events", headers={"Authorization": f"Bearer {TOKEN}"})
        with urllib.request.urlopen(request, timeout=30) as stream:
            assert stream.readline() == b"retry: 2000\n"
            assert keeper.end() == 0
            assert stream.read() is not None
        assert keeper.lines[3:] == ["The keeper has stopped."]


def test_commands_in_what_is_recorded_do_not_name_the_keepers_own_target(cli: Cli, folder: Path) -> None:
    with fake_ray() as ray:
        ray.add("a", log=b"ValueError: no\n")
        with keep(cli, ray.url, folder) as keeper:
            until(lambda: keeper.url and KeptJobs(folder).job("a"))
            ray.end("a", "FAILED")
            until(lambda: (entry := KeptJobs(folder).job("a")) and entry.why)
    entry = KeptJobs(folder).job("a")
    assert entry is not None
    recorded = json.dumps(entry.why)
    assert " a" in recorded
    assert "--address" not in recorded


def test_a_folder_with_unfinished_jobs_of_another_cluster_is_named(cli: Cli, folder: Path) -> None:
    with fake_ray() as one, fake_ray() as other:
        one.add("runs")
        with keep(cli, one.url, folder) as keeper:
            until(lambda: KeptJobs(folder).job("runs"))
            assert not any("also has jobs" in line for line in keeper.lines)
        with keep(cli, other.url, folder) as keeper:
            until(lambda: keeper.url)
            assert f"{folder} also has jobs of {one.url}. Those that had not ended stay so" in keeper.lines[1]


def test_a_second_keeper_of_a_folder_is_refused_with_what_holds_it(cli: Cli, folder: Path) -> None:
    with fake_ray() as ray, keep(cli, ray.url, folder) as first:
        until(lambda: first.lines)
        with keep(cli, ray.url, folder) as second:
            assert second.process.wait(60) == 2
            second.reader.join(10)
            assert f"Another keeper uses {folder}: process {first.process.pid} on " in second.lines[0]


def test_the_page_and_the_api_need_the_clusters_token(cli: Cli, folder: Path) -> None:
    with fake_ray(token=TOKEN) as ray:
        ray.add("a", "SUCCEEDED", b"the log")
        with keep(cli, ray.url, folder, token=TOKEN) as keeper:
            until(lambda: keeper.url)
            until(lambda: keeper.get("/v1/jobs/a/log", TOKEN) == (200, b"the log"))
            assert keeper.get("/v1/jobs")[0] == 401
            assert keeper.get("/v1/jobs", "wrong")[0] == 401
            assert keeper.get("/healthz") == (200, b'{"status":"ok","problems":[]}')
            assert keeper.get("/livez")[0] == 200
            assert b"rayjobs_keeper_behind_seconds" in keeper.get("/metrics", TOKEN)[1]
            assert keeper.get("/v1/page-keys", TOKEN, "POST")[0] == 201
            until(lambda: b"Running" in keeper.get("/cluster", TOKEN)[1])
            assert keeper.end() == 0
        assert not any(TOKEN in line for line in keeper.lines)
        assert TOKEN not in "".join(path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file())


def test_a_rotated_token_is_accepted_at_once_and_the_old_one_no_longer(cli: Cli, folder: Path, tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.write_text("old")
    with fake_ray(token="old") as ray, keep(cli, ray.url, folder, "--token-file", str(token_file)) as keeper:
        until(lambda: keeper.url and keeper.get("/v1/jobs", "old")[0] == 200)
        token_file.write_text("new")
        ray.token = "new"
        time.sleep(REFRESH_SECONDS)  # It was read for the first request.
        assert keeper.get("/v1/jobs", "new")[0] == 200
        assert keeper.get("/v1/jobs", "old")[0] == 401
        until(lambda: keeper.get("/healthz")[0] == 200)


def test_the_keeper_of_a_ray_without_tokens_has_one_of_its_own(cli: Cli, folder: Path) -> None:
    with fake_ray() as ray:
        ray.add("a", "SUCCEEDED", b"the log")
        for _ in range(2):
            with keep(cli, ray.url, folder) as keeper:
                until(lambda keeper=keeper: keeper.lines[3:])
                token = (folder / "token").read_text().strip()
                assert keeper.get("/v1/jobs")[0] == 401
                assert keeper.get("/v1/jobs", token)[0] == 200
                assert not any(token in line for line in keeper.lines)
                assert keeper.end() == 0
        assert (folder / "token").stat().st_mode & 0o777 == 0o600
        with keep(cli, ray.url, folder) as keeper:
            until(lambda: keeper.url and keeper.get("/v1/jobs/a/log", token) == (200, b"the log"))
            asked = ("--keeper", keeper.url, "--token-file", str(folder / "token"))
            # Nothing but the keeper is asked, so there is no other target.
            done = cli.raw("history", "--team", *asked)
            assert (done.returncode, done.stdout.startswith(b"ID")) == (0, True), done.stderr
            refused = cli.raw("history", "--team", "--keeper", keeper.url)
            assert refused.returncode == 6
            assert b"--token-file" in refused.stderr


def test_while_no_program_looks_at_the_cluster_it_is_not_read(cli: Cli, folder: Path) -> None:
    with fake_ray(token=TOKEN) as ray, keep(cli, ray.url, folder, token=TOKEN) as keeper:
        until(lambda: ray.requests["/api/jobs/"] >= 2)
        assert ray.requests["/api/v0/actors"] == 0
        assert keeper.get("/cluster", TOKEN)[0] == 200
        until(lambda: ray.requests["/api/v0/actors"] == 1)


def test_a_full_disk_is_said_and_it_goes_on_when_there_is_room(cli: Cli, folder: Path) -> None:
    log = random.Random(1).randbytes(3_000_000)
    with fake_ray(token=TOKEN) as ray:
        ray.add("a", log=b"")
        with keep(cli, ray.url, folder, token=TOKEN) as keeper:
            until(lambda: keeper.url and keeper.get("/v1/jobs/a", TOKEN)[0] == 200)
            _, hard = resource.prlimit(keeper.process.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(keeper.process.pid, resource.RLIMIT_FSIZE, (500_000, hard))
            ray.write("a", log)
            ray.end("a")
            until(lambda: keeper.get("/healthz")[0] == 503)
            (problem,) = json.loads(keeper.get("/healthz")[1])["problems"]
            assert problem.startswith(f"There is no room for the keeper's folder {folder}")
            assert b"rayjobs_keeper_problems 1" in keeper.get("/metrics", TOKEN)[1]
            assert keeper.get("/livez")[0] == 200
            resource.prlimit(keeper.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
            until(lambda: keeper.get("/v1/jobs/a/log", TOKEN) == (200, log))
            until(lambda: keeper.get("/healthz")[0] == 200)
            assert keeper.end() == 0
        assert [line.partition(" for ")[0] for line in keeper.lines[3:-1]] == [
            "There is no room", "Logs are written again.",
        ]  # fmt: skip


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_refused(cli: Cli, folder: Path) -> None:
    folder.mkdir(mode=0o500)
    with fake_ray() as ray, keep(cli, ray.url, folder) as keeper:
        assert keeper.process.wait(60) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--listen", "8270"], "--listen '8270' is not ADDRESS:PORT."),
        (["--listen", "127.0.0.1:99999"], "is not ADDRESS:PORT."),
        (["--listen", "192.0.2.1:8270"], "cannot listen at 192.0.2.1:8270"),
        (["--retain-bytes", "10 GB"], "--retain-bytes '10 GB' is not a size."),
        (["--log-bytes", "10"], "10 bytes are too few for a log."),
        (["--retain-days", "-1"], "-1"),
        (["--keeper", "http://127.0.0.1:8270"], "--keeper has no effect with `keep`"),
        (["--in-cluster"], "--in-cluster needs a cluster of a stack"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_made(
    cli: Cli, folder: Path, words: list[str], message: str
) -> None:
    done = cli.raw("keep", "--data", str(folder), "--address", "http://127.0.0.1:9", *words)
    assert (done.returncode, message in done.stderr.decode()) == (2, True), done.stderr
    assert not folder.exists()


def test_an_address_where_no_ray_is_ends_it_at_once(cli: Cli, folder: Path) -> None:
    done = cli.raw("keep", "--data", str(folder), "--listen", "127.0.0.1:0", "--address", "http://127.0.0.1:9")
    assert done.returncode == 6
    assert b"nothing listens there" in done.stderr


def test_without_the_extra_it_says_what_to_install(cli: Cli, folder: Path) -> None:
    code = (
        "import sys\n"
        "sys.modules |= dict.fromkeys(('starlette', 'uvicorn', 'jinja2'))\n"
        "sys.argv = ['jobs', 'keep', '--data', sys.argv[1], '--address', 'http://127.0.0.1:9']\n"
        "from jobs.cli.main import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], env=cli.environ, capture_output=True, text=True)
    assert done.returncode == 2
    assert "pip install 'rayjobs[keeper]'" in done.stderr


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("127.0.0.1:8270", ("127.0.0.1", 8270)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
        ("[::1]:1", ("::1", 1)),
        ("my-host:80", ("my-host", 80)),
    ],
)
def test_an_address_is_read(text: str, found: tuple[str, int]) -> None:
    from jobs.cli.keep import parse_listen

    assert parse_listen(text) == found
    with pytest.raises(Refused):
        parse_listen(text + "x")
