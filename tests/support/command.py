"""`python -m jobs` as a person runs it: from an empty directory, with a clean environment."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# A port of this machine where nothing listens.
NO_ADDRESS = "http://127.0.0.1:9"


@dataclass
class Cli:
    """Runs `python -m jobs` in `cwd` with `environ`; a command goes to `address` unless the call names another."""

    address: str
    cwd: Path
    environ: dict[str, str]

    def command(self, *words: str, address: str | None = None) -> list[str]:
        """The whole command line of `python -m jobs WORDS --address ADDRESS`."""
        name, rest = words[0], words[1:]
        return [sys.executable, "-m", "jobs", name, "--address", address or self.address, *rest]

    def __call__(
        self, *words: str, address: str | None = None, timeout: float = 120, **environ: str
    ) -> subprocess.CompletedProcess[bytes]:
        """Runs a command with `--address` to its end."""
        return self.raw(*self.command(*words, address=address)[3:], timeout=timeout, **environ)

    def raw(self, *words: str, timeout: float = 120, **environ: str) -> subprocess.CompletedProcess[bytes]:
        """Runs a command exactly as given to its end."""
        return subprocess.run(
            [sys.executable, "-m", "jobs", *words],
            cwd=self.cwd,
            env={**self.environ, **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
        )

    def start(self, *words: str, address: str | None = None) -> subprocess.Popen[bytes]:
        """Starts a command with `--address`."""
        return self.start_raw(*self.command(*words, address=address)[3:])

    def start_raw(self, *words: str, **environ: str) -> subprocess.Popen[bytes]:
        """Starts a command exactly as given."""
        return subprocess.Popen(
            [sys.executable, "-m", "jobs", *words],
            cwd=self.cwd,
            env={**self.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )


def cli_in(folder: Path, address: str = NO_ADDRESS) -> Cli:
    """A command line whose home and working directory are new folders below `folder`."""
    home, cwd = folder / "home", folder / "cwd"
    home.mkdir()
    cwd.mkdir()
    return Cli(address, cwd, clean_environ(home))


def clean_environ(home: Path) -> dict[str, str]:
    """This process' environment without what would change a command's target, with `home` as HOME."""
    prefixes = ("RAY", "PULUMI", "KUBE", "XDG_", "GIT_")
    environ = {key: value for key, value in os.environ.items() if not key.startswith(prefixes)}
    return {**environ, "HOME": str(home), "PYTHONPATH": str(ROOT)}


def wait_until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Waits until `condition` is true; fails the test after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s")
        time.sleep(0.1)
