"""Fixtures of more than one tier."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support.command import Cli, cli_in

# Under nohup, and in the background of a script, these are ignored, and programs that the tests start would ignore them
# too.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def bare_cli(tmp_path: Path) -> Cli:
    """The command without a Ray head: for a stand-in server, or for a command that fails before it connects."""
    return cli_in(tmp_path)


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "index.sqlite"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "src"
    path.mkdir()
    return path
