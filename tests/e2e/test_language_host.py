"""Our language host runs Pulumi programs under the real CLI as Pulumi's own host does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ops.engine import find_cli
from ops.errors import EngineMissing
from single_node.language_host import host
from single_node.programs import engine

Project = Callable[[str], "Pulumi"]


class Pulumi:
    """One project with a stack `dev` on a backend of its own, and our host on PATH."""

    def __init__(self, folder: Path, program: str, cli: Path) -> None:
        self.folder, self.cli = folder, cli
        programs = folder / "bin"
        programs.mkdir()
        launcher = engine.LAUNCHER.format(arguments=host.__file__)
        (programs / "pulumi-language-python").write_text(launcher)
        (programs / "pulumi-language-python").chmod(0o755)
        (folder / "state").mkdir()
        (folder / "Pulumi.yaml").write_text("name: small\nruntime: python\n")
        (folder / "__main__.py").write_text(program)
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("PULUMI_")},
            "PATH": f"{programs}:/usr/bin:/bin",
            "RAY_PULUMI_PYTHON": sys.executable,
            "PULUMI_HOME": str(folder / "home"),
            "PULUMI_BACKEND_URL": f"file://{folder}/state",
            "PULUMI_CONFIG_PASSPHRASE": "throw-away",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
        }
        assert self("stack", "init", "dev").returncode == 0

    def command(self, *words: str) -> list[str]:
        return [str(self.cli), *words, "--non-interactive", "--color", "never"]

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words), cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=120,
            check=False,
        )  # fmt: skip

    def up(self) -> subprocess.CompletedProcess[str]:
        return self("up", "--yes", "--skip-preview")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    try:
        cli = find_cli()
    except EngineMissing as missing:
        pytest.skip(str(missing))
    return lambda program: Pulumi(tmp_path, program, cli)


def test_a_program_sees_its_project_its_stack_and_its_configuration(project: Project) -> None:
    pulumi = project(
        "import pulumi\n"
        "config = pulumi.Config()\n"
        "pulumi.export('seen', [pulumi.get_project(), pulumi.get_stack(), pulumi.runtime.is_dry_run()])\n"
        "pulumi.export('plain', config.require('plain'))\n"
        "pulumi.export('hidden', config.require_secret('hidden'))\n"
    )
    pulumi("config", "set", "plain", "p")
    pulumi("config", "set", "--secret", "hidden", "hunter2")
    done = pulumi.up()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "hunter2" not in done.stdout + done.stderr
    shown = json.loads(pulumi("stack", "output", "--json", "--show-secrets").stdout)
    assert shown == {"seen": ["small", "dev", False], "plain": "p", "hidden": "hunter2"}


def test_an_error_for_people_is_shown_without_a_traceback(project: Project) -> None:
    done = project("import pulumi\nraise pulumi.RunError('set `clusters`')\n").up()
    text = done.stdout + done.stderr
    assert done.returncode != 0
    assert "error: set `clusters`" in text
    assert "Traceback" not in text


def test_an_unexpected_error_is_shown_with_its_traceback(project: Project) -> None:
    done = project("def broken():\n    raise KeyError('lost')\nbroken()\n").up()
    text = done.stdout + done.stderr
    assert done.returncode != 0
    assert "unhandled exception" in text
    assert "__main__.py" in text
    assert "KeyError: 'lost'" in text


def test_the_exit_code_of_a_program_is_named(project: Project) -> None:
    done = project("import os\nos._exit(3)\n").up()
    assert done.returncode != 0
    assert "error: an unhandled error occurred: program exited with non-zero exit code: 3" in done.stdout + done.stderr


def test_what_a_program_prints_is_shown(project: Project) -> None:
    done = project("print('hello from the program')\n").up()
    assert done.returncode == 0
    assert "hello from the program" in done.stdout + done.stderr


SLEEPER = "import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(600)\n"


def started(pulumi: Pulumi) -> tuple[subprocess.Popen[bytes], Path]:
    """An `up` of a program that sleeps: the CLI, and the program's folder in /proc."""
    running = subprocess.Popen(
        pulumi.command("up", "--yes", "--skip-preview"), cwd=pulumi.folder, env=pulumi.environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    pid, deadline = pulumi.folder / "pid", time.monotonic() + 60
    while not pid.exists() or not pid.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return running, Path("/proc", pid.read_text())


def assert_ends(program: Path) -> None:
    deadline = time.monotonic() + 60
    while program.exists():
        assert time.monotonic() < deadline, "the program outlives the engine"
        time.sleep(0.1)


def test_ctrl_c_ends_the_program_and_the_engine_does_not_wait_for_the_host(project: Project) -> None:
    running, program = started(project(SLEEPER))
    interrupted = time.monotonic()
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does; the engine's plugins are in groups of their own
    assert running.wait(60) != 0
    assert time.monotonic() - interrupted < 4.5  # it kills a host that has not ended after 5
    assert_ends(program)


def test_a_killed_engine_leaves_no_process(project: Project) -> None:
    running, program = started(project(SLEEPER))
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert_ends(program)
