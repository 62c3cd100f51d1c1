"""A signal before a head is reached."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.api_server import kubeconfig
from tests.support.command import Cli
from tests.support.http_server import JsonHandler, serve
from tests.support.outputs import contract, write
from tests.unit.components.cluster.test_context import with_inline_keys

SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)]


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


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_no_key_stays_on_disk_after_a_signal(
    bare_cli: Cli, silent_server: socket.socket, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    config = kubeconfig(tmp_path, f"http://127.0.0.1:{silent_server.getsockname()[1]}", "kind-ray")
    with_inline_keys(config, tmp_path)
    outputs, temporary = write(tmp_path / "outputs.json", contract()), tmp_path / "temporary"
    temporary.mkdir()
    words = ["forward", "--outputs", str(outputs), "--kubeconfig", str(config)]
    process = bare_cli.start_raw(*words, TMPDIR=str(temporary))
    connection, _ = silent_server.accept()
    with connection:
        assert list(temporary.iterdir()) == []
        assert end(process, number)[0] in (0, code)
    assert list(temporary.iterdir()) == []


@pytest.fixture
def stand_in_ray() -> Iterator[str]:
    """The URL of a server that answers every request as Ray answers the question for its version."""

    class Handler(JsonHandler):
        def do_GET(self) -> None:
            self.answer({"version": "4", "ray_version": "2.60.0", "ray_commit": "x", "session_name": "s"})

    with serve(Handler) as url:
        yield url


@pytest.mark.parametrize("number", [number for number, _ in SIGNALS])
def test_the_token_file_of_forward_goes_away_after_a_signal(
    bare_cli: Cli, stand_in_ray: str, tmp_path: Path, number: signal.Signals
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    process = bare_cli.start_raw(
        "forward", "--address", stand_in_ray, TMPDIR=str(temporary), RAY_AUTH_TOKEN="a-secret-token"
    )
    assert process.stdout is not None
    exports = [process.stdout.readline().decode().strip() for _ in range(4)]
    file = Path(exports[-1].partition("=")[2])
    assert file.read_text() == "a-secret-token"
    assert temporary in file.parents
    end(process, number)
    assert list(temporary.iterdir()) == []


def test_under_nohup_a_hangup_changes_nothing(bare_cli: Cli, stand_in_ray: str) -> None:
    process = subprocess.Popen(
        ["nohup", *bare_cli.command("forward", address=stand_in_ray)],
        cwd=bare_cli.cwd,
        env=bare_cli.environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b"export")
    os.kill(process.pid, signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    assert end(process, signal.SIGTERM)[0] == 143
