"""`rayjobs keep` as a process of its own."""

from __future__ import annotations

import re
import signal
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.command import Cli


class Process:
    """A keeper, and the lines of its stderr."""

    def __init__(self, cli: Cli, folder: Path, *words: str, **environ: str) -> None:
        self.process = cli.start_raw("keep", "--data", str(folder), "--listen", "127.0.0.1:0", *words, **environ)
        self.lines: list[str] = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.decode().rstrip())

    @property
    def url(self) -> str:
        """Where its page is. Fails the test as long as it has not said it."""
        found = [match[1] for line in self.lines if (match := re.match(r"Page: (http://[0-9.:]+)", line))]
        assert found
        return found[0]

    def get(self, path: str, token: str = "", method: str = "GET") -> tuple[int, bytes]:
        request = urllib.request.Request(self.url + path, method=method)
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        code = self.process.wait(60)
        self.reader.join(10)
        return code


@contextmanager
def running(keeper: Process) -> Iterator[Process]:
    """Kills a keeper at the end if it still runs."""
    try:
        yield keeper
    finally:
        if keeper.process.poll() is None:
            keeper.process.kill()
        keeper.process.wait(30)


@contextmanager
def keep(cli: Cli, url: str, folder: Path, *words: str, token: str = "") -> Iterator[Process]:
    """Runs a keeper of the Ray at a URL; it is killed at the end if it still runs."""
    environ = {"RAY_AUTH_TOKEN": token} if token else {}
    with running(Process(cli, folder, "--address", url, *words, **environ)) as keeper:
        yield keeper
