"""Entrypoints, messages, metadata and names of other users at a terminal, in JSON and in a CI log."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from jobs.batch.jobs_file import BatchJob
from jobs.batch.run import BatchItem
from jobs.cli import kept
from jobs.cli.batch_view import JsonLines, LiveTable
from jobs.cli.main import cli
from jobs.cli.output import notify, print_error, print_json_line
from jobs.errors import JobsError
from jobs.ledger.records import Origin
from jobs.ledger.store import Ledger
from jobs.spec.job_info import JobInfo
from jobs.spec.job_spec import JobRequest, JobSpec
from jobs.submit import PreparedJob
from tests.support.fake_ray import fake_ray
from tests.support.http_server import JsonHandler, serve
from tests.support.ledger import PLACE
from tests.support.proxy import Faults, Proxy, answer

SECRET = "hunter2hunter2"
# Of each kind one: a link, the clipboard, the screen, a command to CI runners, a direction, markup, a half of a pair.
HOSTILE = "\x1b]8;;http://x\x07\x1b]52;c;eA==\x07\x1b[2J\x9b1A\n::error ::x\r##[error]y\u202e[/][bold]\ud800"
MESSAGE = f"{HOSTILE} pip install --index-url https://user:{SECRET}@pypi.example.com"
JOB: dict[str, Any] = {
    "submission_id": "j",
    "status": "FAILED",
    "type": "SUBMISSION",
    "entrypoint": f"echo '{HOSTILE}'",
    "message": MESSAGE,
    "error_type": f"RUNTIME_ENV_SETUP_FAILURE{HOSTILE}",
    "metadata": {HOSTILE: MESSAGE},
    "runtime_env": {"pip": [MESSAGE], HOSTILE: HOSTILE},
    "start_time": 1,
    "end_time": 2,
}
OTHER = JOB | {"submission_id": f"k{HOSTILE}", "status": f"RUNNING{HOSTILE}"}
NODE = {"state": "ALIVE", "resources_total": {f"CPU{HOSTILE}": 4}}


@pytest.fixture
def url() -> Iterator[str]:
    def body(line: str) -> bytes:
        path = line.split()[1]
        if path.startswith("/api/version"):
            return answer(200, json.dumps({"ray_version": f"2.60.0{HOSTILE}"}))
        if path.startswith("/api/v0"):
            return answer(200, json.dumps({"data": {"result": {"result": [NODE]}}}))
        if path.startswith("/api/cluster_status"):
            return answer(200, json.dumps({"data": {"autoscalingError": MESSAGE}}))
        if path.startswith("/api/jobs/refused"):
            return answer(400, f"Traceback\n{MESSAGE}".encode(errors="replace"), "text/plain")
        return answer(200, json.dumps([JOB, OTHER] if path == "/api/jobs/" else JOB))

    with Proxy("127.0.0.1", 9) as running:
        running.faults = Faults(instead=body)
        yield running.url


def check(text: str) -> None:
    """Fails if a terminal or a CI runner would obey the text, or if it has the secret."""
    assert not [code for code in text if (ord(code) < 32 and code not in "\n\t") or 0x7F <= ord(code) < 0xA0]
    assert not {"\u202e", "\ud800"} & set(text)
    assert not [line for line in text.splitlines() if line.strip().startswith("::")]
    assert "##[" not in text
    assert SECRET not in text


def run(tmp_path: Path, *words: str) -> Result:
    environ = {"HOME": str(tmp_path), "RAYJOBS_LEDGER": str(tmp_path / "ledger"), "RAY_AUTH_TOKEN": "x"}
    return CliRunner(env=environ).invoke(cli, words)


@pytest.mark.parametrize("output", ["text", "json"])
@pytest.mark.parametrize("command", ["list --all", "status j", "wait j", "why j", "why", "check"])
def test_no_command_passes_on_what_another_user_wrote(url: str, tmp_path: Path, command: str, output: str) -> None:
    done = run(tmp_path, *command.split(), "--address", url, "--output", output)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    check(done.stdout)
    check(done.stderr)
    if output == "json":
        assert json.loads(done.stdout)
    else:
        assert "# #[error]" in done.stdout + done.stderr


def test_json_has_the_values_as_they_are(url: str, tmp_path: Path) -> None:
    (job,) = [json.loads(run(tmp_path, "status", "j", "--address", url, "--output", "json").stdout)]
    assert job["entrypoint"] == JOB["entrypoint"].replace("\ud800", "?")


def test_an_error_of_the_server_is_one_too(url: str, tmp_path: Path) -> None:
    done = run(tmp_path, "status", "refused", "--address", url)
    assert isinstance(done.exception, JobsError)
    check(str(done.exception))
    assert "pypi.example.com" in str(done.exception)


def test_the_history_of_an_entrypoint_is_one_too(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    ledger.record_submission("a", JobSpec(f"echo '{HOSTILE[:-1]}'"), PLACE, Origin())
    for words in (["history"], ["history", "a"], ["history", "--output", "json"]):
        done = run(tmp_path, *words)
        assert done.exit_code == 0
        check(done.stdout)


class HostileKeeper(JsonHandler):
    """A keeper whose every text is hostile."""

    def do_GET(self) -> None:
        text = HOSTILE.replace("\ud800", "")
        finding = {"kind": "cause", "text": text, "remedy": text}
        job = {
            **dict.fromkeys(("submission_id", "status", "identity", "kind", "user", "host", "reason"), f"j{text}"),
            **dict.fromkeys(("message", "error_type", "package", "stack", "cluster", "batch", "key"), text),
            **{"status_at": 1, "created": 1, "started_at": 1, "ended_at": 2, "withheld": [text], "modules": [text]},
            "spec": {"entrypoint": text, "metadata": {text: text}, "runtime_env": {text: text}},
            "changes": [{"status": text, "at": 1}],
            "why": {"at": 1, "findings": [finding]},
            "commit": {"sha": text},
        }
        refused = self.path.startswith("/v1/jobs/refused")
        jobs = {"jobs": [job], "cursor": None}
        answer = {"error": text, "remedy": text} if refused else jobs if self.path.startswith("/v1/jobs?") else job
        self.answer(answer, 400 if refused else 200)


@pytest.mark.parametrize("output", ["text", "json"])
@pytest.mark.parametrize(
    "command", ["history --team", "history --team j", "history --team refused", "status j", "wait j", "why j"]
)
def test_neither_does_a_command_pass_on_what_a_keeper_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, output: str
) -> None:
    monkeypatch.setattr(kept, "SETTLE_SECONDS", 0.0)
    with serve(HostileKeeper) as keeper, fake_ray() as ray:
        target = ("--address", ray.url, "--keeper", keeper)
        done = run(tmp_path, *command.split(), *target, "--output", output)
    assert done.exception is None or isinstance(done.exception, SystemExit | JobsError), done.exception
    check(done.stdout)
    check(done.stderr + str(done.exception))
    if output == "json" and "refused" not in command:
        assert json.loads(done.stdout)
    else:
        assert "# #[error]" in done.stdout + done.stderr + str(done.exception)


def test_what_is_printed_is_visible_whoever_wrote_it(capsys: pytest.CaptureFixture[str]) -> None:
    notify(HOSTILE)
    print_error(HOSTILE)
    print_json_line(HOSTILE)
    captured = capsys.readouterr()
    check(captured.out)
    check(captured.err)
    assert "\\x1b]52" in captured.err


def item() -> BatchItem:
    job = BatchJob("i", {"i": HOSTILE}, JobRequest(JobSpec("x")))
    prepared = PreparedJob(f"b{HOSTILE}", JobSpec("x"), (), Origin())
    info = JobInfo("b", "RUNNING[/]", error_type=MESSAGE)
    return BatchItem(job, prepared, status=f"RUNNING{HOSTILE}", info=info, since=time.time())


def test_the_live_table_of_a_batch_reads_no_markup() -> None:
    from rich.console import Console

    written = io.StringIO()
    failed = replace(item(), error=JobsError(MESSAGE.replace(SECRET, "")), status="ERROR")
    waiting = replace(item(), status="PENDING", reason=MESSAGE.replace(SECRET, ""))
    table = LiveTable(f"[/]{HOSTILE}", lambda: [item(), failed, waiting]).table()
    Console(file=written, width=400).print(table)
    check(written.getvalue())
    assert "[/]" in written.getvalue()


def test_the_json_lines_of_a_batch_are_visible(capsys: pytest.CaptureFixture[str]) -> None:
    JsonLines("b", print_json_line).changed(item())
    out = capsys.readouterr().out
    check(out)
    assert json.loads(out)["params"] == {"i": HOSTILE}


def test_a_long_list_of_long_entrypoints_is_quick(tmp_path: Path) -> None:
    """96 kB of it took 62 s."""
    units = ["--token ", "a='b ", "x=", "https://a:", "A_", "-" * 8, "'", "\\"]
    jobs = [
        JOB | {"submission_id": f"j{i}", "message": "", "entrypoint": (unit * 96_000)[:96_000]}
        for i, unit in enumerate(units * 5)
    ]
    with Proxy("127.0.0.1", 9) as running:
        running.faults = Faults(instead=lambda _line: answer(200, json.dumps(jobs)))
        began = time.process_time()
        done = run(tmp_path, "list", "--address", running.url)
    assert done.exit_code == 0
    assert time.process_time() - began < 10
