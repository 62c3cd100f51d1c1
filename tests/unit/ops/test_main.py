"""`python -m ops`: a command, its file and its make target have one name."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ops.__main__ import COMMANDS, ops

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_the_file_of_its_name_with_a_page_of_help(name: str) -> None:
    assert (ROOT / "ops" / f"{name}.py").is_file()
    command = ops.get_command(click.Context(ops), name)
    assert command is not None
    assert command.name == name
    assert CliRunner().invoke(ops, [name, "--help"]).exit_code == 0


def test_a_make_target_calls_the_command_of_its_name() -> None:
    makefile = (ROOT / "Makefile").read_text()
    called = re.findall(r"(?m)^([a-z-]+):.*\n\t\$\(BIN\)/python -m ops ([a-z]+)", makefile)
    own_names = {"demo-destroy": "demo", "cluster-down": "cluster", "unit": "test", "lint": "test"}
    assert [(target, command) for target, command in called if own_names.get(target, target) != command] == []
    assert {command for _, command in called} == set(COMMANDS) - {"dashboards", "manifests"}
