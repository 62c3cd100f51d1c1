"""A signal before a head is reached."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.api_server import kubeconfig
from tests.support.command import Cli
from tests.support.outputs import contract, write

SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


def end(process: subprocess.Popen[bytes], number: signal.Signals) -> tuple[int, bytes]:
    process.send_signal(number)
    _, err = process.communicate(timeout=90)
    assert b"Traceback" not in err
    return process.returncode, err


@pytest.fixture
def silent_server() -> Iterator[socket.socket]:
    """Takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        yield server


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_while_a_tunnel_opens_it_ends_at_once_and_nothing_was_submitted(
    bare_cli: Cli, silent_server: socket.socket, number: signal.Signals, code: int
) -> None:
    outputs = write(bare_cli.cwd / "outputs.json", contract())
    address = f"http://127.0.0.1:{silent_server.getsockname()[1]}"
    config = kubeconfig(bare_cli.cwd, address, "kind-ray")
    words = ["submit", "--outputs", str(outputs), "--kubeconfig", str(config), "--", "true"]
    process = bare_cli.start_raw(*words)
    connection, _ = silent_server.accept()
    with connection:
        ended, said = end(process, number)
    assert ended == code
    assert b"nothing was submitted" in said
