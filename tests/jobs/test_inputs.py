"""Inputs of a submission on a real Ray: modules, wheels, and files of the directory that are written meanwhile."""

from __future__ import annotations

import asyncio
import json
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from jobs.session import Session
from jobs.spec.job_spec import JobRequest, JobSpec
from jobs.submit import PreparedJob, prepare
from tests.jobs.conftest import Head, new_id, output_of, session_at
from tests.support.command import Cli
from tests.support.directories import write
from tests.support.proxy import Proxy, answer

WHEEL = "wheeled-1.0+local.1-py3-none-any.whl"


def wheel(path: Path, value: int) -> Path:
    """A wheel of the package `wheeled`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    name, version, *_ = path.name.split("-")
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}/__init__.py", f"VALUE = {value}\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


def printing(*modules: str) -> list[str]:
    """The command that prints VALUE of each module."""
    return ["python", "-c", f"import {', '.join(modules)}; print({', '.join(f'{name}.VALUE' for name in modules)})"]


def stock(cli: Cli, runtime_env: dict[str, object], entrypoint: list[str]) -> subprocess.CompletedProcess[bytes]:
    """The same job with Ray's own client."""
    ray = Path(sys.executable).with_name("ray")
    words = [ray, "job", "submit", "--address", cli.address, "--runtime-env-json", json.dumps(runtime_env)]
    return subprocess.run(
        [*words, "--", *entrypoint],
        cwd=cli.cwd,
        env={**cli.environ, "RAY_AUTH_MODE": "token"},
        capture_output=True,
        timeout=120,
        check=False,
    )


def test_a_directory_a_file_an_archive_and_a_wheel_are_imported_and_a_new_wheel_of_the_same_name_too(cli: Cli) -> None:
    write(cli.cwd / "lib/ours/__init__.py", "VALUE = 1")
    write(cli.cwd / "lib/single.py", "VALUE = 2")
    with zipfile.ZipFile(cli.cwd / "zipped.zip", "w") as archive:
        archive.writestr("zipped.py", "VALUE = 3")
    runtime_env = json.dumps({"py_modules": ["lib/ours", "lib/single.py", "zipped.zip", WHEEL]})
    for value in (4, 5):
        wheel(cli.cwd / WHEEL, value)
        run = cli("submit", "--runtime-env-json", runtime_env, "--", *printing("ours", "single", "zipped", "wheeled"))
        assert run.returncode == 0, run.stderr.decode()
        assert output_of(run.stdout).split() == [b"1", b"2", b"3", str(value).encode()]


def test_rays_own_client_does_the_same_with_a_directory_and_a_wheel(cli: Cli) -> None:
    # Of a name that no other test uses: Ray's client keeps the first wheel of a name.
    name = f"w{new_id()}"
    write(cli.cwd / "lib/ours/__init__.py", "VALUE = 1")
    write(cli.cwd / "lib/ours/left_out.py", "VALUE = 1")
    wheel(cli.cwd / f"{name}-1.0-py3-none-any.whl", 2)
    runtime_env = {"py_modules": ["lib/ours", f"{name}-1.0-py3-none-any.whl"], "excludes": ["left_out.py"]}
    outputs = []
    for module in ("ours", "ours.left_out"):
        theirs = stock(cli, runtime_env, printing(module, name))
        ours = cli("submit", "--runtime-env-json", json.dumps(runtime_env), "--", *printing(module, name))
        assert ours.returncode == theirs.returncode == (0 if module == "ours" else 1), ours.stderr.decode()
        outputs.append((output_of(ours.stdout), theirs.stdout))
    assert outputs[0][0] == b"1 2\n"
    assert b"\n1 2\n" in outputs[0][1]
    for output in outputs[1]:
        assert b"No module named 'ours.left_out'" in output


def test_a_directory_is_a_working_dir_and_a_module_of_one_job(cli: Cli) -> None:
    """Ray's own client gives both one name, and the second package is never sent."""
    write(cli.cwd / "ours/__init__.py", f"VALUE = 1  # {new_id()}")
    runtime_env = json.dumps({"working_dir": "ours", "py_modules": ["ours"]})
    run = cli(
        "submit", "--runtime-env-json", runtime_env, "--", "python", "-c", "import os, ours; print(os.listdir('.'))"
    )
    assert run.returncode == 0, run.stderr.decode()
    assert output_of(run.stdout) == b"['__init__.py']\n"


def test_a_rerun_sends_the_modules_again_that_the_server_no_longer_has(cli: Cli, proxy: Proxy) -> None:
    write(cli.cwd / "ours/__init__.py", "VALUE = 1")
    wheel(cli.cwd / WHEEL, 2)
    write(cli.cwd / "code/main.py", "import ours, wheeled; print(ours.VALUE, wheeled.VALUE)")
    runtime_env = json.dumps({"py_modules": ["ours", WHEEL]})
    job = new_id()
    words = ["--submission-id", job, "--working-dir", "code", "--runtime-env-json", runtime_env]
    run = cli("submit", *words, "--", "python", "main.py")
    assert run.returncode == 0, run.stderr.decode()
    proxy.faults.instead = lambda line: answer(404, "gone") if line.startswith("GET /api/packages/") else None
    cli.cwd = cli.cwd.parent
    again = cli("rerun", job, address=f"http://127.0.0.1:{proxy.port}")
    assert again.returncode == 0, again.stderr.decode()
    assert output_of(again.stdout) == b"1 2\n"
    assert sum(line.startswith("PUT /api/packages/") for line in proxy.requests) == 3
    assert str(Path("cwd") / "ours") in cli.raw("history", job).stdout.decode()


LISTS = "import os; print('in', sorted(name for name in os.listdir('.') if name != '.local'))"


@pytest.mark.parametrize(
    "line",
    [
        "SUBMIT -- python t.py > run.log 2>&1",
        "SUBMIT -- python t.py > run.log 2> errors.log",
        "SUBMIT -- python t.py >> run.log 2>&1",
        "nohup SUBMIT -- python t.py > run.log 2>&1 < /dev/null",
        "SUBMIT --ledger own.sqlite -- python t.py > run.log 2>&1",
        "HOME=. SUBMIT -- python t.py > run.log 2>&1",
        "SUBMIT -- python t.py 2>&1 | tee run.log",
        "BATCH > run.log 2>&1",
    ],
)
def test_what_the_command_writes_into_the_directory_that_it_uploads_is_no_disturbance(line: str, cli: Cli) -> None:
    write(cli.cwd / "t.py", LISTS)
    write(cli.cwd / "jobs.yaml", "jobs: [{entrypoint: python t.py, working_dir: '.'}]")
    files = ["jobs.yaml", "t.py"] if "tee" not in line else ["jobs.yaml", "run.log", "t.py"]
    for _ in range(2):
        submit = shlex.join(cli.command("submit", "--working-dir", "."))
        batch = shlex.join(cli.command("submit", "--file", "jobs.yaml", "--batch", new_id()))
        script = line.replace("SUBMIT", submit).replace("BATCH", batch)
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", script], cwd=cli.cwd, env=cli.environ, timeout=120, check=False
        )
        logs = "".join(path.read_text() for path in cli.cwd.glob("*.log"))
        assert done.returncode == 0, logs
        # A batch does not print the logs of its jobs.
        assert (f"in {files}" in logs) is ("SUBMIT" in line)
        assert ("because this command writes to it" in logs) is ("tee" not in line)


def test_a_log_that_another_program_writes_all_the_time_is_packed(cli: Cli) -> None:
    write(cli.cwd / "t.py", "print(open('grows.log').read().count('line') > 0)")
    writer = subprocess.Popen(["bash", "-c", "while :; do echo line; done >> grows.log"], cwd=cli.cwd)
    try:
        run = cli("submit", "--working-dir", ".", "--", "python", "t.py")
    finally:
        writer.kill()
        writer.wait()
    assert run.returncode == 0, run.stderr.decode()
    assert output_of(run.stdout) == b"True\n"


def test_a_file_that_is_removed_after_the_directory_was_read_leads_to_a_second_reading(
    head: Head, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(source / "t.py", f"{LISTS}  # {new_id()}")
    removed = write(source / "t.py.swp")
    request = JobRequest(JobSpec("python t.py", {"working_dir": str(source)}))
    output = bytearray()
    notes: list[str] = []

    async def prepare_request() -> PreparedJob:
        return await prepare(request, use_cache=False)

    async def submit(session: Session) -> tuple[PreparedJob, PreparedJob]:
        first = await prepare_request()
        removed.unlink()
        sent, submission = await session.submit_or_prepare_again(first, prepare_request)
        await session.run_to_end(submission.submission_id, output.extend)
        return first, sent

    async def main() -> tuple[PreparedJob, PreparedJob]:
        async with session_at(head) as session:
            session.notify = notes.append
            return await submit(session)

    first, sent = asyncio.run(main())
    assert output_of(bytes(output)) == b"in ['t.py']\n"
    assert sent.submission_id == first.submission_id
    assert sent.spec.working_dir != first.spec.working_dir
    assert any("t.py.swp vanished" in note for note in notes)
