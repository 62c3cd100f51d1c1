"""YAML that other people wrote."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest

from jobs.batch.jobs_file import from_file
from jobs.errors import Refused
from jobs.kubernetes.kubeconfig import read_kubeconfig
from jobs.yaml_file import NotYaml, PlainText, dump_yaml, parse_as_typed, parse_documents, parse_yaml
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
        ("a: " + "9" * 5000, "not valid YAML"),
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


# What YAML 1.1 and 1.2 read differently, and what 1.2 reads (https://yaml.org/spec/1.2.2/#103-core-schema).
DIALECT = {
    "yes": "yes", "off": "off", "Y": "Y", "true": True, "False": False, "22:22": "22:22", "1:30.5": "1:30.5",
    "2026-01-02": "2026-01-02", "2026-13-45": "2026-13-45", "1_000": "1_000", "0b11": "0b11", "0o17": 15, "0x1F": 31,
    "012": 12, "+1": 1, "1e3": 1000.0, "1.5": 1.5, ".5": 0.5, "=": "=", "~": None, "null": None, '"yes"': "yes",
}  # fmt: skip


# Text in both versions, and no text for kustomize or Pulumi's engine.
GO = ["y", "N", "0X1F", "0B11", "-0o17", "1_0e3"]


@pytest.mark.parametrize("typed", DIALECT)
def test_the_dialect_is_yaml_1_2(typed: str) -> None:
    for value in (parse_yaml(f"a: {typed}")["a"], parse_documents(f"a: {typed}\n---\n")[0]["a"]):
        assert (value, type(value)) == (DIALECT[typed], type(DIALECT[typed]))


def test_text_as_typed_is_written_as_typed() -> None:
    text = "".join(f"k{number}: {typed}\n" for number, typed in enumerate(DIALECT)) + "012: k\nTRUE: k\n"
    typed = parse_as_typed(text)
    assert isinstance(typed["k0"], PlainText)
    assert not isinstance(typed[f"k{len(DIALECT) - 1}"], PlainText)
    assert dump_yaml(typed) == text.replace('"yes"', "'yes'")


@pytest.mark.parametrize("text", [*(key for key in DIALECT if '"' not in key), *GO])
def test_text_that_a_dialect_reads_as_something_else_is_written_in_quotes(text: str) -> None:
    import yaml

    written = dump_yaml({text: text})
    assert parse_yaml(written) == yaml.safe_load(written) == {text: text}
    assert (text == "=") or written == f"'{text}': '{text}'\n"
