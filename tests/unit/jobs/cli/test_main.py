"""The command itself: help, its imports, a reader that goes away."""

from __future__ import annotations

import gc
import json
import subprocess
import sys

from jobs.cli.runner import run
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


def run_main(bare_cli: Cli, words: list[str], after: str) -> list[str]:
    """Runs the command, and then code in the same process. Returns the lines of stderr."""
    script = f"import gc, sys; sys.argv[1:] = {words!r}\nfrom jobs.cli.main import main\n"
    script += f"try: main()\nexcept SystemExit: pass\n{after}"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=bare_cli.cwd, env=bare_cli.environ, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return done.stderr.strip().splitlines()


def test_at_its_end_a_command_does_not_look_for_garbage_among_its_modules(bare_cli: Cli) -> None:
    with server(answer(200, json.dumps([JOB]))) as running:
        words = ["list", "--address", running.url]
        *_, left = run_main(bare_cli, words, after="print(len(gc.get_objects()), file=sys.stderr)")
    assert int(left) < 100


def test_garbage_is_collected_while_a_command_runs() -> None:
    async def is_collected() -> bool:
        return gc.isenabled()

    gc.disable()
    try:
        assert run(is_collected)
    finally:
        gc.enable()


def test_help_and_an_address_import_neither_ray_nor_kr8s_nor_pulumi(bare_cli: Cli) -> None:
    names = "{name.split('.')[0] for name in sys.modules}"
    after = f"print(sorted({{'ray', 'kr8s', 'pulumi', 'rich', 'httpx'}} & {names}), file=sys.stderr)"
    with server(answer(200, json.dumps(JOB))) as running:
        for words, expected in ((["--help"], "[]"), (["status", "j", "--address", running.url], "['httpx']")):
            assert run_main(bare_cli, words, after=after)[-1] == expected
