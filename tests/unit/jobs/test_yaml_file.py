"""YAML that other people wrote."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest

from jobs.batch.jobs_file import from_file
from jobs.errors import Refused
from jobs.kubernetes.kubeconfig import read_kubeconfig
from jobs.yaml_file import NotYaml, parse_yaml
from tests.support.command import Cli

LEVELS = "abcdefghij"


def bomb(level: str) -> str:
    """Ten levels, each with nine aliases of the level before."""
    lines = [f"{LEVELS[0]}: &{LEVELS[0]} {{x: 1}}"]
    for before, name in itertools.pairwise(LEVELS):
        aliases = ", ".join([f"*{before}"] * 9)
        lines.append(f"{name}: &{name} " + level.format(aliases))
    return "\n".join(lines)


BOMBS = [bomb("[{}]"), bomb("{{<<: [{}]}}"), bomb("[{}]").replace("a: &a {x: 1}", "jobs: &a [1]")]


@pytest.mark.parametrize("text", BOMBS)
def test_aliases_do_not_multiply_a_text(text: str) -> None:
    began = time.monotonic()
    with pytest.raises(NotYaml, match="aliases"):
        parse_yaml(text)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: &a [*a]", "contains itself"),
        ("[" * 20_000, "nested too deeply"),
        ("a: 2026-13-45", "not valid YAML"),
        ("a: [\nTOKEN=hunter2", "not YAML at line"),
        ("a: !!python/object/apply:os.system [x]", "not YAML at line"),
    ],
)
def test_what_cannot_be_used_is_named_and_not_quoted(text: str, problem: str) -> None:
    with pytest.raises(NotYaml, match=problem) as caught:
        parse_yaml(text)
    assert "hunter2" not in str(caught.value)


def test_ordinary_aliases_and_merges_work() -> None:
    text = "base: &base {a: 1, b: [2]}\njobs:\n" + "- {<<: *base, c: 3}\n" * 500
    assert parse_yaml(text)["jobs"][-1] == {"a": 1, "b": [2], "c": 3}
    assert parse_yaml("") is None


def test_every_yaml_file_of_a_command_is_read_this_way(bare_cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(BOMBS[0])
    with pytest.raises(Refused, match="aliases"):
        from_file(file)
    with pytest.raises(Refused, match="aliases"):
        read_kubeconfig(str(file), option="--kubeconfig")
    done = bare_cli("submit", "--runtime-env", str(file), "--", "true", timeout=30)
    assert done.returncode == 2
    assert b"aliases" in done.stderr


@pytest.mark.parametrize(
    "text",
    [
        "jobs: [hunter2]",
        "jobs: [{entrypoint: x, metadata: {a: {b: hunter2}}}]",
        "jobs: [{entrypoint: x, metadata: [hunter2]}]",
        "jobs: [{entrypoint: x, runtime_env: hunter2}]",
        "defaults: hunter2\njobs: [{entrypoint: x}]",
        "sweep: hunter2\njobs: [{entrypoint: x}]",
        "concurrency: hunter2\njobs: [{entrypoint: x}]",
    ],
)
def test_no_error_about_a_jobs_file_repeats_a_value(tmp_path: Path, text: str) -> None:
    file = tmp_path / "jobs.yaml"
    file.write_text(text)
    with pytest.raises(Refused) as caught:
        from_file(file)
    assert "hunter2" not in str(caught.value)
