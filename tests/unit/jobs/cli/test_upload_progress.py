"""How far an upload is, at a terminal and elsewhere."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.command import Cli
from tests.support.http_server import JsonHandler, serve
from tests.support.terminal import run_at_terminal

SIZE = 16_000_000
PIECE = 500_000


@contextmanager
def slow_server(seconds: float) -> Iterator[str]:
    """Has no package, takes `seconds` to read one, and accepts every job."""

    class Handler(JsonHandler):
        def do_GET(self) -> None:
            self.answer("It does not exist", 404)

        def do_PUT(self) -> None:
            left = int(self.headers["Content-Length"])
            while left:
                left -= len(self.rfile.read(min(PIECE, left)))
                time.sleep(seconds * PIECE / SIZE)
            self.answer({})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.answer({"submission_id": body["submission_id"]})

    with serve(Handler) as url:
        yield url


WORDS = ("submit", "--allow-unauthenticated", "--no-wait", "--submission-id", "j", "--working-dir", ".", "--", "true")


def write_noise(cli: Cli) -> None:
    (cli.cwd / "noise").write_bytes(random.Random(0).randbytes(SIZE))


def test_at_a_terminal_it_is_a_bar_with_rate_and_time_left(bare_cli: Cli) -> None:
    write_noise(bare_cli)
    with slow_server(3.0) as url:
        words = bare_cli.command(*WORDS, address=url)
        code, out, shown = run_at_terminal(words, bare_cli.cwd, bare_cli.environ)
    assert (code, out) == (0, b"j\n")
    text = re.sub(rb"\x1b\[[0-9;]*m", b"", shown)
    assert re.search(rb"Uploading [^\r\n]*\d\.\d of 15\.3 MiB, \d+\.\d MiB/s, \d+ s left", text), text
    assert "━".encode() in text
    # The line is gone before the next message.
    assert re.search(rb"\x1b\[2KJob j: submitted\.\r\n$", text), text[-300:]


def test_elsewhere_it_is_a_line_every_five_seconds(bare_cli: Cli) -> None:
    write_noise(bare_cli)
    with slow_server(9.0) as url:
        begin = time.monotonic()
        done = bare_cli(*WORDS, address=url)
        seconds = time.monotonic() - begin
    assert (done.returncode, done.stdout) == (0, b"j\n")
    lines = [line for line in done.stderr.decode().splitlines() if line.startswith("Uploading: ")]
    assert 1 <= len(lines) <= seconds / 5  # A busy machine needs longer than the server.
    form = re.compile(r"Uploading: \d+\.\d of 15\.3 MiB \(\d+ %\), \d+\.\d MiB/s, \d+ s left\.")
    assert all(form.fullmatch(line) for line in lines), lines
    assert "\x1b" not in done.stderr.decode()
