"""`completion`: what the shells get, from the command as they call it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.ledger.records import Origin
from jobs.ledger.store import Ledger
from tests.support.command import ROOT, Cli
from tests.support.ledger import PLACE, SPEC
from tests.support.outputs import contract, write


@pytest.fixture
def home(bare_cli: Cli) -> Path:
    """A home with three jobs in the ledger, an outputs file with two clusters, and a kubeconfig."""
    home = Path(bare_cli.environ["HOME"])
    ledger = Ledger(home / ".local/state/rayjobs/ledger.sqlite")
    for submission_id, status in (("train-old", "FAILED"), ("train-new", "RUNNING"), ("other", "SUCCEEDED")):
        ledger.record_submission(submission_id, SPEC, PLACE, Origin(batch="sweep-1"))
        ledger.record_status(submission_id, PLACE.identity, status)
    write(home / ".config/rayjobs/outputs.json", contract(clusters=2))
    contexts = "apiVersion: v1\nkind: Config\ncontexts:\n- {name: kind-ray, context: {cluster: c}}\n"
    write(home / ".kube/config", contexts)
    return home


def offered(cli: Cli, line: str, shell: str = "fish") -> list[str]:
    """The words that a shell offers at the end of a line."""
    *_, last = line.split(" ")
    environ = {"COMP_WORDS": line, "COMP_CWORD": last if shell == "fish" else str(len(line.split(" ")) - 1)}
    done = cli.raw(_RAYJOBS_COMPLETE=f"{shell}_complete", **environ)
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode().splitlines()
    if shell == "zsh":
        return lines[1::3]
    return [line.partition(",")[2].partition("\t")[0] for line in lines if line]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_commands_options_and_ids(shell: str, bare_cli: Cli, home: Path) -> None:
    assert offered(bare_cli, "rayjobs s", shell) == ["submit", "status", "stop"]
    assert "--follow" in offered(bare_cli, "rayjobs logs --f", shell)
    assert offered(bare_cli, "rayjobs logs tr", shell) == ["train-new", "train-old"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("rayjobs stop ", ["train-new"]),
        ("rayjobs wait ", ["train-new"]),
        ("rayjobs delete ", ["other", "train-old"]),
        ("rayjobs status train-old t", ["train-new"]),
        ("rayjobs list --cluster ", ["ray-0", "ray-1"]),
        ("rayjobs list --context ", ["kind-ray"]),
        ("rayjobs list --status S", ["SUCCEEDED", "STOPPED"]),
        ("rayjobs submit --batch ", ["sweep-1"]),
        ("rayjobs list --output ", ["text", "json"]),
        ("rayjobs local st", ["start", "stop", "status"]),
        ("rayjobs list --ledger /nowhere/x --outputs a", ["a"]),
        ("rayjobs submit --timeout 5 -- python tr", ["tr"]),
        ("rayjobs logs --ledger /nowhere/x ", []),
    ],
)
def test_each_word_is_offered_from_the_file_that_has_it(line: str, words: list[str], bare_cli: Cli, home: Path) -> None:
    assert offered(bare_cli, line) == words


def test_stacks_are_those_of_the_project_around_the_working_directory(bare_cli: Cli) -> None:
    (bare_cli.cwd / "Pulumi.yaml").write_text("name: ray-on-kubernetes\nruntime: python\n")
    for stack in ("dev", "prod"):
        (bare_cli.cwd / f"Pulumi.{stack}.yaml").touch()
    assert offered(bare_cli, "rayjobs check --stack ") == ["dev", "prod"]


def test_nothing_is_offered_and_nothing_printed_from_damaged_files(bare_cli: Cli, home: Path) -> None:
    for file in (".local/state/rayjobs/ledger.sqlite", ".config/rayjobs/outputs.json", ".kube/config"):
        (home / file).write_text("{damaged")
    for line in ("rayjobs logs ", "rayjobs list --cluster ", "rayjobs list --context "):
        assert offered(bare_cli, line) == []


def test_the_script_of_bash_completes_in_bash(bare_cli: Cli, home: Path, tmp_path: Path) -> None:
    """The program is the installed one: `rayjobs` on the PATH."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    program = tmp_path / "bin" / "rayjobs"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m jobs "$@"\n')
    program.chmod(0o755)
    script = (
        'eval "$(rayjobs completion bash)"\nCOMP_WORDS=(rayjobs logs train)\nCOMP_CWORD=2\n'
        '_rayjobs_completion rayjobs\necho "${COMPREPLY[@]}"\n'
    )
    environ = {**bare_cli.environ, "PATH": f"{program.parent}{os.pathsep}{bare_cli.environ['PATH']}"}
    assert environ["PYTHONPATH"] == str(ROOT)
    done = subprocess.run(
        [bash, "-c", script], env=environ, cwd=bare_cli.cwd, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["train-new", "train-old"], done.stderr


@pytest.mark.parametrize(
    ("shell", "line"), [("bash", "complete -o nosort"), ("zsh", "#compdef rayjobs"), ("fish", "complete --no-files")]
)
def test_each_shell_has_a_script_and_the_shell_of_the_user_is_the_default(shell: str, line: str, bare_cli: Cli) -> None:
    named = bare_cli.raw("completion", shell)
    assert line in named.stdout.decode()
    assert bare_cli.raw("completion", SHELL=f"/usr/bin/{shell}").stdout == named.stdout


def test_another_shell_is_refused_with_what_to_type(bare_cli: Cli) -> None:
    done = bare_cli.raw("completion", SHELL="/bin/dash")
    assert done.returncode == 2
    assert b"There is no completion for the shell 'dash'" in done.stderr
    assert b"completion bash" in done.stderr
