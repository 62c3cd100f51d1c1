"""Inputs of a submission on a real Ray: modules, wheels, and a log in the directory that is uploaded."""

from __future__ import annotations

import json
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.jobs.conftest import output_of
from tests.support.command import Cli
from tests.support.directories import write

PRINT = "import ours, single, wheeled; print(ours.VALUE, single.VALUE, wheeled.VALUE)"


def wheel(folder: Path, value: int) -> Path:
    """A wheel of the package `wheeled`."""
    path = folder / "wheeled-1.0-py3-none-any.whl"
    info = "wheeled-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("wheeled/__init__.py", f"VALUE = {value}\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: wheeled\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


def test_a_directory_a_file_and_a_wheel_are_imported_by_the_job_and_a_new_wheel_of_the_same_name_too(cli: Cli) -> None:
    write(cli.cwd / "lib/ours/__init__.py", "VALUE = 1")
    write(cli.cwd / "lib/single.py", "VALUE = 2")
    modules = ["lib/ours", "lib/single.py", "wheeled-1.0-py3-none-any.whl"]
    for value in (3, 4):
        wheel(cli.cwd, value)
        run = cli("submit", "--runtime-env-json", json.dumps({"py_modules": modules}), "--", "python", "-c", PRINT)
        assert run.returncode == 0, run.stderr.decode()
        assert output_of(run.stdout).split() == [b"1", b"2", str(value).encode()]


@pytest.mark.parametrize("how", ["> run.log 2>&1", "2>&1 | tee run.log", "> run.log 2> errors.log"])
def test_a_log_of_the_command_in_the_directory_that_it_uploads_is_no_disturbance(how: str, cli: Cli) -> None:
    write(cli.cwd / "t.py", "import os; print('in', sorted(os.listdir('.')))")
    words = " ".join(f"'{word}'" for word in cli.command("submit", "--working-dir", ".", "--", "python", "t.py"))
    for _ in range(2):
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", f"{words} {how}"], cwd=cli.cwd, env=cli.environ, timeout=120, check=False
        )
        text = (cli.cwd / "run.log").read_text()
        assert done.returncode == 0, text
        assert "'t.py'" in text
