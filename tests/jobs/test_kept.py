"""What this machine keeps of a job, as the commands write and read it."""

from __future__ import annotations

import asyncio
import json
import subprocess
from dataclasses import replace
from pathlib import Path

from tests.jobs.conftest import Head, new_id, session_at
from tests.support.command import Cli
from tests.support.proxy import Faults, Proxy


def forget(head: Head, job: str) -> None:
    """The server no longer has the record, as after a restart of the head."""

    async def delete() -> None:
        async with session_at(head) as session:
            await session.delete(job)

    asyncio.run(delete())


def test_the_commands_keep_how_a_job_ended_and_rerun_links_to_it(cli: Cli) -> None:
    (cli.cwd / "s.py").write_text(f"raise SystemExit(4)  # {new_id()}")
    job = new_id()
    cli("submit", "--submission-id", job, "--working-dir", ".", "--", "python s.py")
    kept = json.loads(cli.raw("history", job, "--output", "json").stdout)
    assert (kept["driver_exit_code"], kept["error_type"]) == (4, "JOB_ENTRYPOINT_COMMAND_ERROR")
    assert kept["package"].startswith("gcs://")
    assert kept["changes"][-1]["status"] == "FAILED"
    again = cli("rerun", job)
    assert again.returncode == 1
    assert f"{job}-r1".encode() in again.stderr


def test_a_relative_directory_is_kept_so_that_rerun_finds_it_from_anywhere(cli: Cli, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "s.py").write_text(f"print('{new_id()}')")
    job = new_id()
    inside = replace(cli, cwd=project)
    assert inside("submit", "--submission-id", job, "--working-dir", ".", "--", "python s.py").returncode == 0
    assert json.loads(cli.raw("history", job, "--output", "json").stdout)["working_dir"] == str(project)


def test_a_damaged_ledger_warns_once_and_fails_no_job(cli: Cli) -> None:
    damaged = cli.cwd / "damaged.sqlite"
    damaged.write_bytes(b"garbage" * 1000)
    done = cli("submit", "--ledger", str(damaged), "--", "echo fine")
    assert done.returncode == 0
    assert b"fine" in done.stdout
    assert done.stderr.count(b"is damaged") == 1


def test_work_whose_end_was_seen_gives_its_result_though_the_server_forgot_it(cli: Cli, head: Head) -> None:
    key = new_id()
    first = json.loads(cli("submit", "--key", key, "--output", "json", "--", "true").stdout)
    forget(head, first["submission_id"])
    again = cli("submit", "--key", key, "--", "true")
    assert again.returncode == 0, again.stderr
    assert b"The server has forgotten job" in again.stderr
    other = cli("submit", "--key", key, "--output", "json", "--", "exit 7")
    assert json.loads(other.stdout)["driver_exit_code"] == 7, other.stderr  # other work, and nothing in its way


def test_the_kept_log_of_another_cluster_is_said_to_be_that_and_is_no_success(
    cli: Cli, head: Head, proxy: Proxy
) -> None:
    job = new_id()
    assert cli("submit", "--submission-id", job, "--", "echo mine").returncode == 0
    forget(head, job)
    elsewhere = cli("logs", job, address=proxy.url)
    assert elsewhere.returncode == 2
    assert b"of ANOTHER cluster" in elsewhere.stderr
    here = cli("logs", job)
    assert here.returncode == 0
    assert b"mine" in here.stdout
    assert b"ANOTHER" not in here.stderr


def test_what_was_followed_is_not_printed_again_from_the_ledger(cli: Cli, proxy: Proxy) -> None:
    job = new_id()
    first = cli.start("submit", "--submission-id", job, "--", "echo begun; sleep 600", address=proxy.url)
    assert first.stdout is not None
    assert any(line == b"begun\n" for line in first.stdout)
    first.terminate()
    first.communicate(timeout=60)
    follower = cli.start("logs", "--follow", "--patience", "2", job, address=proxy.url)
    assert follower.stdout is not None
    assert any(line == b"begun\n" for line in follower.stdout)
    proxy.faults = Faults(drop_request=lambda _line: True)
    rest, said = follower.communicate(timeout=120)
    cli("stop", "--no-wait", job)
    assert follower.returncode == 6, said
    assert b"begun" not in rest


def test_the_commit_of_the_directory_is_kept_and_whether_it_is_dirty(cli: Cli) -> None:
    (cli.cwd / "s.py").write_text(f"print('{new_id()}')")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com"]
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "one"]):
        subprocess.run([*git, *words], cwd=cli.cwd, check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], cwd=cli.cwd, check=True, capture_output=True, text=True).stdout
    kept = []
    for job in (new_id(), new_id()):
        cli("submit", "--no-wait", "--submission-id", job, "--working-dir", ".", "--", "python s.py")
        kept.append(cli.raw("history", job).stdout.decode())
        (cli.cwd / "s.py").write_text("print('edited')")
    assert f"commit:     {head.strip()}\n" in kept[0]
    assert f"commit:     {head.strip()} (with uncommitted changes)\n" in kept[1]
