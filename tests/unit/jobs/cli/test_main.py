"""The command itself: help, its imports, a reader that goes away."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.support.command import Cli
from tests.support.proxy import answer, server

JOB = {"submission_id": "j", "status": "SUCCEEDED", "type": "SUBMISSION", "entrypoint": "true"}


def test_a_reader_that_goes_away_ends_the_command_quietly(bare_cli: Cli) -> None:
    jobs = [{**JOB, "submission_id": f"j{i}"} for i in range(20_000)]
    with server(answer(200, json.dumps(jobs))) as running:
        process = bare_cli.start("list", address=running.url)
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(60) == 141


def test_help_is_a_page_with_examples_for_every_command(bare_cli: Cli) -> None:
    from jobs.cli.main import COMMANDS

    for command in COMMANDS:
        done = bare_cli.raw(command, "--help")
        assert done.returncode == 0
        assert b"jobs " + command.encode() in done.stdout, command


def test_help_and_an_address_import_neither_ray_nor_kr8s_nor_pulumi(bare_cli: Cli) -> None:
    script = (
        "import sys; sys.argv[1:] = {words!r}\nfrom jobs.cli.main import main\ntry: main()\nexcept SystemExit: pass\n"
    )
    script += "heavy = {{'ray', 'kr8s', 'pulumi', 'rich', 'httpx'}} & {{name.split('.')[0] for name in sys.modules}}\n"
    script += "print(sorted(heavy), file=sys.stderr)"
    with server(answer(200, json.dumps(JOB))) as running:
        for words, expected in ((["--help"], "[]"), (["status", "j", "--address", running.url], "['httpx']")):
            done = subprocess.run(
                [sys.executable, "-c", script.format(words=words)],
                cwd=bare_cli.cwd, env=bare_cli.environ, capture_output=True, text=True, check=True, timeout=60,
            )  # fmt: skip
            assert done.stderr.strip().splitlines()[-1] == expected
