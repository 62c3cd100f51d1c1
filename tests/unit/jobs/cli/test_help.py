"""`--help`: the command as the reader types it, options under headings."""

from __future__ import annotations

import re

import click
import pytest

from jobs import errors
from jobs.cli import help as help_page
from jobs.cli.main import COMMANDS, cli


def help_of(command: str, program: str = "python -m jobs") -> str:
    with cli.make_context(program, [command, "--help"], resilient_parsing=True) as context:
        found = cli.get_command(context, command)
        assert found is not None
        return found.get_help(click.Context(found, parent=context, info_name=command))


@pytest.mark.parametrize("command", COMMANDS)
def test_the_usage_and_every_example_can_be_pasted(command: str) -> None:
    page = help_of(command)
    examples = page.partition("Examples:\n")[2].partition("\n\n")[0].splitlines()
    assert page.startswith(f"Usage: python -m jobs {command} ")
    assert examples
    assert all(line.strip().startswith("python -m jobs ") for line in examples)
    assert not re.search(r"(?<!-m )\bjobs (submit|status|logs|list)\b", page)


def test_an_installed_package_is_called_rayjobs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert errors.command("logs ID") == "`python -m jobs logs ID`"
    monkeypatch.setattr(help_page, "COMMAND", "rayjobs")
    assert help_page.as_typed("rayjobs logs ID && rayjobs list") == "rayjobs logs ID && rayjobs list"


def test_submit_shows_its_options_under_headings() -> None:
    headings = re.findall(r"^(\w[\w ]*):$", help_of("submit"), re.MULTILINE)
    assert headings == [
        "Job options", "Upload options", "Run options", "Retry options", "Batch options", "Options", "Target options",
    ]  # fmt: skip


def test_no_option_is_left_out_of_the_help() -> None:
    for command in COMMANDS:
        page = help_of(command)
        with cli.make_context("jobs", [command], resilient_parsing=True) as context:
            found = cli.get_command(context, command)
        assert found is not None
        options = [each for each in found.params if isinstance(each, click.Option)]
        assert [each.name for each in options if each.opts[-1] not in page] == []
