"""`make session`: run a first session with `rayjobs` for real, and write what it printed to docs/first-session.md."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from ops.engine import ROOT
from ops.errors import OpsError

PAGE = ROOT / "docs" / "first-session.md"
STEP_SECONDS = 600
INSTALL = "pip install 'rayjobs[local] @ git+https://github.com/YOUR-ORG/ray-on-kubernetes'"
INSTALL_CLIENT = "pip install git+https://github.com/YOUR-ORG/ray-on-kubernetes"
PROGRAM = """\
import ray


@ray.remote
def loss(epoch):
    return 1 / epoch


for epoch in range(3):
    print(f"epoch {epoch}: loss {ray.get(loss.remote(epoch)):.2f}")
"""
HEADER = """\
<!-- Written by `make session`, which runs these commands. Do not edit. -->

# How does a first session look?

Each command ran, and the output is what it printed. Dates, durations, addresses and paths were replaced by fixed ones,
and lines about waits were left out, because they differ from machine to machine.
"""
# What differs from run to run, and what the page has instead.
REPLACED: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"\x1b\[[0-9;]*m", ""),
    (r"\d{4}-\d\d-\d\d[ _]\d\d[:-]\d\d[:-]\d\d(,\d{3})?", "2026-11-27 10:00:00"),
    (r"session_2026-11-27 10:00:00_\d+_\d+", "session"),
    (r"after \d+ (s|min \d+ s)", "after 5 s"),
    (r"(10:00:00  )(\d\w*)( +)(?=\S)", lambda row: f"{row[1]}{'5s':<{len(row[2] + row[3])}}"),
    (r"http://[\d.]+:\d+ ?", "http://127.0.0.1:8265"),
    (r"(address:?) [\d.]+:\d+", r"\1 127.0.0.1:6379"),
    (r"\d[\d.]*e\+\d+", "4e+09"),
    (r"pid=\d+, ip=[\d.]+", "pid=1234, ip=127.0.0.1"),
)
# A line about a wait comes only if the wait takes more than two seconds.
WAIT = re.compile(r"(?m)^.+; (?:until \d\d:\d\d:\d\d \(.+\)|no time limit)\.\n")


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        text: What the page says before it.
        command: The command, as it is typed in bash.
        code: The exit code that it has to have.
        shows: Texts that it has to print.
    """

    text: str
    command: str
    code: int = 0
    shows: tuple[str, ...] = ()


def steps(outputs: str = "") -> list[Step]:
    """Returns the session: with a Ray on this machine, or with the cluster of an outputs file of this name."""
    local = "" if outputs else " --local"
    to_a_target = [
        Step("Without a target, `rayjobs` says which ways there are to one.", "rayjobs", 2, ("rayjobs init",)),
        Step(
            "This session takes the last way, and needs no cluster. With one, `rayjobs init` makes it the default "
            "target, and `--local` is left out of the commands below. `check` tests whether jobs can run; the first "
            "command with `--local` starts the Ray.",
            "rayjobs check --local",
            shows=("The Jobs API answers", "The token works."),
        ),
    ]
    if outputs:
        to_a_target = [
            Step(
                "`init` makes the cluster of an outputs file the default target, and checks it. `make outputs` wrote "
                "the file.",
                f"rayjobs init --outputs {outputs}",
                shows=("The default target is", "The token works."),
            )
        ]
    end = Step("The Ray on this machine runs until it is stopped.", "rayjobs local stop", shows=("Stopped.",))
    if outputs:
        end = Step("The server keeps the records until they are deleted.", "rayjobs delete hello train-1 train-2")
    return [
        *to_a_target,
        Step(
            "A first job. With `--no-wait` the command ends when the job is submitted. stdout is its id.",
            f"rayjobs submit{local} --no-wait --submission-id hello -- python -c \"print('hello')\"",
            shows=("Job hello: submitted.",),
        ),
        Step(
            "`wait` waits for the end. Its exit code is the job's.",
            f"rayjobs wait{local} hello",
            shows=("Job hello SUCCEEDED",),
        ),
        Step(
            "The log has every byte of the job. The first two lines are Ray's.",
            f"rayjobs logs{local} hello",
            shows=("hello\n",),
        ),
        Step("A program with a mistake:", "cat train.py"),
        Step(
            "Without `--no-wait`, `submit` follows the log, and ends as the job ends. `--working-dir` uploads the "
            "directory. The job fails: the last line says why, and names the next command.",
            f"rayjobs submit{local} --submission-id train-1 --working-dir . -- python train.py",
            1,
            ("Job train-1 FAILED", "ZeroDivisionError: division by zero (train.py, line 6, in loss)", "why train-1"),
        ),
        Step(
            "`why` can be asked later too. On a cluster it also reads the pods, the events and the quotas.",
            f"rayjobs why{local} train-1",
            shows=("cause:", "ZeroDivisionError: division by zero (train.py, line 6, in loss)"),
        ),
        Step("The fix: epochs begin with 1.", "sed -i 's/range(3)/range(1, 4)/' train.py"),
        Step(
            "A new job has a new id. The same command with the same id and the same files would attach to the job that "
            "exists.",
            f"rayjobs submit{local} --submission-id train-2 --working-dir . -- python train.py",
            shows=("epoch 3: loss 0.33", "Job train-2 SUCCEEDED"),
        ),
        Step("What ran, the newest last:", f"rayjobs list{local}", shows=("hello ", "train-1 ", "train-2 ")),
        end,
    ]


@click.command("session")
@click.option("--outputs", type=click.Path(exists=True, path_type=Path), help="Outputs file [default: a local Ray].")
def session_command(outputs: Path | None) -> None:
    """Run a first session with `rayjobs`, and write what it printed to docs/first-session.md."""
    PAGE.write_text(record(outputs), encoding="utf-8")
    click.echo(str(PAGE))


def record(outputs: Path | None = None) -> str:
    """Runs the session and returns the page.

    Args:
        outputs: An outputs file; None: a Ray that is started on this machine, and stopped.

    Raises:
        OpsError: A command has another exit code, or does not print what it should.
    """
    session = steps(outputs.name if outputs else "")
    install = INSTALL_CLIENT if outputs else INSTALL
    parts = [HEADER, f"```\n$ {install}\n```\n"]
    with _place(outputs) as run:
        for step in session:
            text = textwrap.fill(step.text, 120, break_on_hyphens=False)
            parts.append(f"{text}\n\n```\n$ {step.command}\n{_checked(step, *run(step.command))}```\n")
    return "\n".join(parts)


def _checked(step: Step, code: int, output: str) -> str:
    """Returns what the page shows of a step. Raises OpsError."""
    missing = [text for text in step.shows if text not in output]
    if code != step.code or missing:
        raise OpsError(f"`{step.command}` ended with {code}, and did not print {missing}:\n{output}")
    ends_a_job = step.command.startswith(("rayjobs submit", "rayjobs wait"))
    return f"{output}$ echo $?\n{code}\n" if code or ends_a_job else output


@contextmanager
def _place(outputs: Path | None) -> Iterator[Callable[[str], tuple[int, str]]]:
    """Yields a function that runs a command in a new home and working directory, and returns its exit code and output.

    There `rayjobs` is the package of this repository under the name that it has when it is installed.
    """
    base = Path(tempfile.mkdtemp(prefix="rj", dir="/tmp"))  # A short path: Ray's sockets are below it.
    home, programs, modules = base / "home" / "me", base / "bin", base / "modules"
    work = home / "project"
    for folder in (work, programs, modules):
        folder.mkdir(parents=True)
    (modules / "rayjobs").symlink_to(ROOT / "jobs")
    rayjobs = programs / "rayjobs"
    rayjobs.write_text(f"#!{sys.executable}\nfrom rayjobs.cli.main import main\nmain()\n")
    rayjobs.chmod(0o755)
    (work / "train.py").write_text(PROGRAM)
    environ = {
        "PATH": os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "HOME": str(home),
        "PYTHONPATH": str(modules),
        "RAYJOBS_LOCAL_DIR": str(base / "ray"),
        "RAYJOBS_USER": "me",
        "COLUMNS": "120",
    }
    if outputs is not None:
        shutil.copy(outputs, work)
        environ["KUBECONFIG"] = os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    paths = {str(base / "ray"): "/tmp/rayjobs", str(base): "", sys.prefix: "/home/me/.venv"}

    def run(command: str) -> tuple[int, str]:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=work,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=STEP_SECONDS,
            check=False,
        )
        return done.returncode, stable(done.stdout, paths)

    try:
        yield run
    finally:
        run("rayjobs local stop")
        shutil.rmtree(base, ignore_errors=True)


def stable(output: str, paths: dict[str, str]) -> str:
    """Returns the output without what differs from run to run. Pure.

    Args:
        output: What a command printed.
        paths: Paths of this machine, and what takes their place.
    """
    for path, shown in paths.items():
        output = output.replace(path, shown)
    for pattern, replacement in REPLACED:
        output = re.sub(pattern, replacement, output)
    return WAIT.sub("", output)
