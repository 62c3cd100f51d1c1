"""One real Ray head for the whole directory, on ports of its own, with token authentication."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
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
from tests.support.proxy import Proxy

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Head:
    """`url` of the dashboard, ports by name, the token and the file that holds it."""

    url: str
    ports: dict[str, int]
    token: str
    token_file: Path
    log_dir: Path
    pid: int


def start_head(base: Path, ports: dict[str, int] | None = None) -> Head:
    """A head that answers. `base` must be a short path: Ray's sockets are below it."""
    pytest.importorskip("ray", reason="ray is not installed: the tests against a real head are left out")
    base.mkdir(parents=True, exist_ok=True)
    token_file = base / "token"
    if not token_file.exists():
        token_file.write_text(secrets.token_hex(32))
        token_file.chmod(0o600)
    ports = ports or local.free_ports()
    process, url = local.launch(base / "ray", token_file, base / "start.log", num_cpus=4, ports=ports)
    head = Head(url, ports, token_file.read_text(), token_file, base / "ray" / "session_latest" / "logs", process.pid)
    wait_until(lambda: _answers(head) or _ended(process, base / "start.log"), 120)
    return head


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


def wait_until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s")
        time.sleep(0.1)


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


@dataclass
class Cli:
    """Runs `python -m jobs` as a person would, from an empty directory and with an environment of its own."""

    head: Head
    cwd: Path
    environ: dict[str, str]

    def command(self, *words: str, address: str | None = None) -> list[str]:
        name, rest = words[0], words[1:]
        return [sys.executable, "-m", "jobs", name, "--address", address or self.head.url, *rest]

    def __call__(
        self, *words: str, address: str | None = None, timeout: float = 120, **environ: str
    ) -> subprocess.CompletedProcess[bytes]:
        return self.raw(*self.command(*words, address=address)[3:], timeout=timeout, **environ)

    def raw(self, *words: str, timeout: float = 120, **environ: str) -> subprocess.CompletedProcess[bytes]:
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
        return self.start_raw(*self.command(*words, address=address)[3:])

    def start_raw(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "jobs", *words],
            cwd=self.cwd,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )


def clean_environ(home: Path) -> dict[str, str]:
    environ = {
        key: value for key, value in os.environ.items() if not key.startswith(("RAY", "PULUMI", "KUBE", "XDG_", "GIT_"))
    }
    return {**environ, "HOME": str(home), "PYTHONPATH": str(ROOT)}


@pytest.fixture
def cli(head: Head, tmp_path: Path) -> Cli:
    home, cwd = tmp_path / "home", tmp_path / "cwd"
    home.mkdir()
    cwd.mkdir()
    return Cli(head, cwd, {**clean_environ(home), "RAY_AUTH_TOKEN_PATH": str(head.token_file)})


@pytest.fixture
def bare_cli(tmp_path: Path) -> Cli:
    """The same without a head: for what fails before anything is asked of one."""
    home, cwd = tmp_path / "home", tmp_path / "cwd"
    home.mkdir()
    cwd.mkdir()
    nobody = Head("http://127.0.0.1:9", {}, "", tmp_path / "none", tmp_path, 0)
    return Cli(nobody, cwd, clean_environ(home))


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
