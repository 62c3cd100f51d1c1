"""One real Ray head for the whole directory, on ports of its own, with token authentication."""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from jobs import local_ray as local
from jobs.connection import Connection
from jobs.dashboard.client import RayJobsApi
from jobs.dashboard.http import HttpClient
from jobs.session import Session
from jobs.target.resolve import LocalTarget
from tests.support.command import Cli, cli_in, wait_until
from tests.support.proxy import Proxy


@dataclass(frozen=True)
class Head:
    """`url` of the dashboard, ports by name, the token and the file that holds it."""

    url: str
    ports: dict[str, int]
    token: str
    token_file: Path
    log_dir: Path
    pid: int


def start_head(base: Path, ports: dict[str, int] | None = None, python: str | None = None) -> Head:
    """A head that answers. `base` must be a short path: Ray's sockets are below it.

    `python` is one that has another Ray than this one's."""
    if python is None:
        pytest.importorskip("ray", reason="ray is not installed: the tests against a real head are left out")
    base.mkdir(parents=True, exist_ok=True)
    token_file = base / "token"
    if not token_file.exists():
        token_file.write_text(secrets.token_hex(32))
        token_file.chmod(0o600)
    ports = ports or free_ports("gcs", "dashboard", "agent", "client")
    process = local.launch(
        base / "ray", token_file, base / "start.log", num_cpus=4, ports=ports, python=python or sys.executable
    )
    head = Head(
        f"http://127.0.0.1:{ports['dashboard']}",
        ports,
        token_file.read_text(),
        token_file,
        base / "ray" / "session_latest" / "logs",
        process.pid,
    )
    wait_until(lambda: _answers(head) or _ended(process, base / "start.log"), 120)
    return head


def free_ports(*names: str) -> dict[str, int]:
    """Ports that are free now, by name. All are bound until the last is chosen, so that they differ."""
    with contextlib.ExitStack() as stack:
        ports = {}
        for name in names:
            bound = stack.enter_context(socket.socket())
            bound.bind(("127.0.0.1", 0))
            ports[name] = bound.getsockname()[1]
        return ports


def _ended(process: subprocess.Popen[bytes], log: Path) -> bool:
    if process.poll() is not None:
        pytest.fail(f"Ray did not start:\n{log.read_text(errors='replace')[-3000:]}")
    return False


def _answers(head: Head) -> bool:
    import httpx

    try:
        headers = {"Authorization": f"Bearer {head.token}"}
        return httpx.get(f"{head.url}/api/jobs/", headers=headers, timeout=5, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="session")
def head() -> Iterator[Head]:
    base = short_directory()
    running = start_head(base)
    yield running
    local.end(running.pid)
    shutil.rmtree(base, ignore_errors=True)


def short_directory() -> Path:
    return Path(tempfile.mkdtemp(prefix="rj", dir="/tmp"))


@pytest.fixture
def proxy(head: Head) -> Iterator[Proxy]:
    with Proxy("127.0.0.1", head.ports["dashboard"]) as running:
        yield running


@pytest.fixture
def agent_proxy(head: Head) -> Iterator[Proxy]:
    with Proxy("127.0.0.1", head.ports["agent"]) as running:
        yield running


@pytest.fixture
def cli(head: Head, tmp_path: Path) -> Cli:
    """The command against the head."""
    command = cli_in(tmp_path, head.url)
    command.environ["RAY_AUTH_TOKEN_PATH"] = str(head.token_file)
    return command


@asynccontextmanager
async def session_at(
    head: Head, url: str | None = None, *, agent: str | None = None, patience: float = 60.0
) -> AsyncIterator[Session]:
    """The library at `url` (the head itself by default). `agent`: where its dashboard agent is reached; None: nowhere,
    so that logs come from the dashboard."""

    async def token() -> str | None:
        return head.token

    http = HttpClient(url or head.url, token=token)
    to_agent = HttpClient(agent, token=token) if agent else None

    async def route(_address: str) -> HttpClient | None:
        return to_agent

    try:
        client = RayJobsApi(http, agent_route=route)
        yield Session(Connection(client, LocalTarget({}), head.url, head.url), patience=patience)
    finally:
        await http.close()
        if to_agent is not None:
            await to_agent.close()


def new_id() -> str:
    return f"t{uuid.uuid4().hex[:12]}"


def output_of(stdout: bytes) -> bytes:
    """The job's own output, without Ray's two lines. Ray does not flush its second one before the job begins to write,
    so it is not always the first."""
    return re.sub(rb"(?m)^(\S+ \S+\tINFO job_manager\.py|Running entrypoint for job )[^\n]*\n", b"", stdout)
