"""The Ray on this machine behind --local: started on first use, then reused, stopped by `local stop`.

It has its own ports, temporary directory and token; another Ray on the machine is not touched. It listens only on the
loopback interface, which the users of the machine share. So the token is sent only after `check_listener` has found
that the listener belongs to this user.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import importlib.util
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from .activity import activity
from .dashboard.client import RayJobsApi
from .dashboard.http import HttpClient
from .deadline import Deadline
from .errors import DeadlinePassed, JobsError, LocalFault, Unreachable, command
from .private_file import write_private

START_SECONDS = 120.0
STOP_SECONDS = 30.0
SOCKET_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LISTEN = "0A"
# Loopback, or every interface: IPv4, IPv6, and IPv4 in IPv6, each word in the byte order of the machine.
_LOOPBACK = frozenset({0x7F000001, 0, 1, 0xFFFF_7F000001})
_DASHBOARD_LINE = re.compile(r"Dashboard head http address: 127\.0\.0\.1:([0-9]+)")


@dataclass(frozen=True)
class LocalRay:
    """A running head: process id of `ray start --block`, dashboard URL, file of its token."""

    pid: int
    url: str
    token_file: str


def directory() -> Path:
    """The directory of state, token and logs: RAYJOBS_LOCAL_DIR, or one of this user in the temporary directory.

    The default is short, because Ray's sockets are below it, and their paths are limited to 107 bytes.
    """
    configured = os.environ.get("RAYJOBS_LOCAL_DIR")
    path = Path(configured) if configured else Path(tempfile.gettempdir()) / f"rayjobs-{os.getuid()}"
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = path.lstat()
    if not path.is_dir() or path.is_symlink() or status.st_uid != os.getuid():
        raise LocalFault(f"{path} belongs to another user.", "Set RAYJOBS_LOCAL_DIR to another directory.")
    path.chmod(0o700)
    return path


@contextlib.asynccontextmanager
async def _locked(base: Path) -> AsyncIterator[None]:
    """Only one process at a time starts or stops it."""
    deadline = Deadline(START_SECONDS + STOP_SECONDS)
    with (base / "lock").open("w") as lock:
        with activity("Waiting for another process that starts or stops the local Ray", deadline):
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:  # Tried again and again, because a blocking wait could not be interrupted.
                    if deadline.passed:
                        raise DeadlinePassed(
                            f"Another process has held {lock.name} for {deadline.seconds:.0f} s.",
                            "It starts or stops the local Ray. End it, or set RAYJOBS_LOCAL_DIR to another directory.",
                        ) from None
                    await asyncio.sleep(0.1)
        yield


async def ensure(notify: Callable[[str], None]) -> LocalRay:
    """The running head, started if need be. Raises LocalFault, DeadlinePassed."""
    base = directory()
    running = await find(base)
    if running is not None:
        return running
    if importlib.util.find_spec("ray") is None:
        raise LocalFault(
            "--local requires Ray on this machine, and it is not installed.", "Run `pip install 'rayjobs[local]'`."
        )
    return await _start(base, notify)


async def find(base: Path | None = None) -> LocalRay | None:
    """The head of the state file, if it answers."""
    base = base or directory()
    try:
        ray = _read_state(base)
        os.kill(ray.pid, 0)
    except (OSError, ValueError, TypeError):
        return None
    return ray if await _answers(ray, 5.0) else None


def _read_state(base: Path) -> LocalRay:
    return LocalRay(**json.loads((base / "state.json").read_text()))


async def stop(seconds: float = STOP_SECONDS) -> bool:
    """Ends the head. Returns whether there was one."""
    base = directory()
    async with _locked(base):
        try:
            ray = _read_state(base)
        except (OSError, ValueError, TypeError):
            return False
        (base / "state.json").unlink()
        with activity("Waiting for the local Ray to end", Deadline(seconds)):
            return end(ray.pid, seconds)


def end(pid: int, seconds: float = STOP_SECONDS) -> bool:
    """Ends a `ray start --block` and its processes. Returns whether it ran."""
    deadline = Deadline(seconds)
    try:
        os.kill(pid, signal.SIGTERM)
        while not deadline.passed:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            os.kill(pid, 0)
            time.sleep(0.1)
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return not deadline.passed
    return True


async def _answers(ray: LocalRay, seconds: float) -> bool:
    async def token() -> str | None:
        return Path(ray.token_file).read_text().strip()

    http = HttpClient(ray.url, token=token, check=check_listener)
    try:
        await RayJobsApi(http).version(Deadline(seconds))
        return True
    except (JobsError, OSError):
        return False
    finally:
        await http.close()


async def _start(base: Path, notify: Callable[[str], None]) -> LocalRay:
    async with _locked(base):
        running = await find(base)
        if running is not None:
            return running
        notify(f"Starting Ray on this machine (its files are in {base}).")
        token_file = base / "token"
        token_file.unlink(missing_ok=True)
        write_private(token_file, secrets.token_hex(32))
        log = base / "start.log"
        client_port = free_port()
        process = launch(base / "ray", token_file, log, ports={"client": client_port})
        try:
            with activity("Waiting for Ray on this machine to start", Deadline(START_SECONDS)):
                url = await _url_when_ready(base / "ray", token_file, client_port, process, log)
        except BaseException:  # After an interrupt too, no Ray runs that is not in the state file.
            end(process.pid)
            raise
        ray = LocalRay(process.pid, url, str(token_file))
        (base / "state.json").write_text(json.dumps(asdict(ray)))
        return ray


async def _url_when_ready(
    temp: Path, token_file: Path, client_port: int, process: subprocess.Popen[bytes], log: Path
) -> str:
    deadline = Deadline(START_SECONDS)
    while True:
        url = dashboard_url(temp, process.pid)
        if url is not None and await _answers(LocalRay(process.pid, url, str(token_file)), 0.2):
            # The only port that Ray cannot choose. If another user is first, this start fails.
            with contextlib.suppress(Unreachable):
                check_listener(f"http://127.0.0.1:{client_port}")
                return url
        if process.poll() is not None:
            lines = log.read_text(errors="replace").strip().splitlines()
            raise LocalFault(f"Ray did not start: {lines[-1] if lines else 'no message'}", f"See {log}.")
        if deadline.passed:
            raise DeadlinePassed(f"Ray did not answer within {START_SECONDS:.0f} s of its start.", f"See {log}.")
        await asyncio.sleep(0.3)


def dashboard_url(temp: Path, pid: int) -> str | None:
    """Where the dashboard of a `ray start` listens, from its log; None: it does not yet.

    Args:
        temp: See `launch`. Only this user can write there.
        pid: The process id of `ray start`, which is a part of its session's name.
    """
    logs = sorted(temp.glob(f"session_*_{pid}/logs/dashboard.log"))
    if not logs:
        return None
    ports: list[str] = _DASHBOARD_LINE.findall(logs[-1].read_text(errors="replace"))
    return f"http://127.0.0.1:{ports[-1]}" if ports else None


def check_listener(url: str) -> None:
    """Makes sure that the listener at a loopback URL belongs to this user. Systems without /proc cannot be asked.

    Raises:
        Unreachable: Nothing listens there.
        LocalFault: Another user does.
    """
    port = urlsplit(url).port
    tables = [table for table in SOCKET_TABLES if table.exists()]
    if not tables:
        return
    owners = {
        owner
        for table in tables
        for address, bound, owner in _listeners(table)
        if bound == port and address in _LOOPBACK
    }
    if not owners:
        raise Unreachable(f"Nothing listens at {url}.", f"{command('local start')} starts the local Ray.")
    if owners != {os.geteuid()}:
        foreign = min(owners - {os.geteuid()})
        raise LocalFault(
            f"Another user (uid {foreign}) listens at {url}, the local Ray's address: nothing was sent.",
            f"Run {command('local stop')}. The next start uses other ports.",
        )


def _listeners(table: Path) -> Iterator[tuple[int, int, int]]:
    """Address, port and owner of each listening socket of a table of Linux (proc(5))."""
    for line in table.read_text().splitlines()[1:]:
        fields = line.split()
        address, port = fields[1].split(":")
        if fields[3] == _LISTEN:
            words = [address[i : i + 8] for i in range(0, len(address), 8)]
            if sys.byteorder == "little":
                words = [bytes.fromhex(word)[::-1].hex() for word in words]
            yield int("".join(words), 16), int(port, 16), int(fields[7])


def launch(
    temp: Path,
    token_file: Path,
    log: Path,
    *,
    ports: Mapping[str, int],
    num_cpus: int | None = None,
    python: str = sys.executable,
) -> subprocess.Popen[bytes]:
    """Starts `ray start --head --block` in its own process session. `dashboard_url` has its URL when it listens.

    Args:
        temp: Ray's temporary directory; a short path, below a directory that only this user can use.
        token_file: The file with the token.
        log: Where the output of `ray start` goes.
        ports: Port of `client`, which Ray cannot choose by itself. Ports of `gcs`, `dashboard` and `agent`; by default
            each of them binds a free port, because another user could take a port between its choice and its use.
        num_cpus: CPUs of the node; Ray counts them by default.
        python: The Python that has Ray; by default the one that runs this.
    """
    # `python` in an entrypoint must be the one that has Ray.
    path = os.pathsep.join([str(Path(python).parent), os.environ.get("PATH", "")])
    environ = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    environ |= {"PATH": path, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token_file)}
    # Ray's switch for machines without clusters: GCS, raylet, workers and metrics listen on 127.0.0.1 only. Without it,
    # Ray on Linux replaces 127.0.0.1 by the machine's address in the network.
    environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    words = [
        python,
        "-c",
        "from ray.scripts.scripts import main; main()",
        "start",
        "--head",
        "--block",
        "--disable-usage-stats",
        "--node-ip-address=127.0.0.1",
        "--dashboard-host=127.0.0.1",
        f"--port={ports.get('gcs', 0)}",
        f"--dashboard-port={ports.get('dashboard', 0)}",
        f"--dashboard-agent-listen-port={ports.get('agent', 0)}",
        f"--ray-client-server-port={ports['client']}",
        # The system chooses the workers' ports: Ray's fixed range collides with a second Ray.
        "--min-worker-port=0",
        "--max-worker-port=0",
        "--object-store-memory=200000000",
        f"--temp-dir={temp}",
    ]
    if num_cpus is not None:
        words.append(f"--num-cpus={num_cpus}")
    with log.open("wb") as output:
        return subprocess.Popen(
            words,
            env=environ,
            cwd=str(log.parent),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])
