"""docs/first-session.md is what `make session` runs."""

from __future__ import annotations

import re

from ops.session import INSTALL, INSTALL_CLIENT, PAGE, stable, steps

TEXT = PAGE.read_text(encoding="utf-8")
OUTPUTS = re.search(r"(?m)^\$ rayjobs init --outputs (\S+)$", TEXT)


def test_the_commands_of_the_page_are_those_that_the_script_runs() -> None:
    commands = [line for line in re.findall(r"(?m)^\$ (.+)$", TEXT) if line != "echo $?"]
    session = steps(OUTPUTS[1] if OUTPUTS else "")
    assert commands == [INSTALL_CLIENT if OUTPUTS else INSTALL, *(step.command for step in session)]


def test_each_command_of_the_page_ended_and_printed_as_the_script_requires() -> None:
    blocks = re.findall(r"(?ms)^```\n\$ ([^\n]+)\n(.*?)^```$", TEXT)[1:]
    for step, (command, output) in zip(steps(OUTPUTS[1] if OUTPUTS else ""), blocks, strict=True):
        assert step.command == command
        assert [text for text in step.shows if text not in output] == []
        _, _, code = output.partition("$ echo $?\n")
        assert int(code or 0) == step.code


def test_the_page_has_nothing_of_the_machine_that_ran_it() -> None:
    output = (
        "\x1b[36mStarting Ray (its files are in /tmp/rj1/ray).\x1b[0m\n"
        "Waiting for Ray on this machine to start; until 13:43:08 (1 min 58 s).\n"
        "Waiting for job hello to end: PENDING; no time limit.\n"
        '  File "/tmp/rj1/ray/session_2026-01-02_03-04-05_123_45/train.py", line 1 (pid=7238, ip=10.0.0.1)\n'
        "2026-01-02 03:04:05,678\tINFO Connecting to existing Ray cluster at address: 10.0.0.1:40011...\n"
        "Job hello SUCCEEDED after 2 min 13 s.\n"
        "hello    SUCCEEDED  me    2026-01-02 03:04:05  2m13s     true\n"
    )
    assert stable(output, {"/tmp/rj1/ray": "/tmp/rayjobs"}) == (
        "Starting Ray (its files are in /tmp/rayjobs).\n"
        '  File "/tmp/rayjobs/session/train.py", line 1 (pid=1234, ip=127.0.0.1)\n'
        "2026-11-27 10:00:00\tINFO Connecting to existing Ray cluster at address: 127.0.0.1:6379...\n"
        "Job hello SUCCEEDED after 5 s.\n"
        "hello    SUCCEEDED  me    2026-11-27 10:00:00  5s        true\n"
    )
