"""The Ray on this machine behind --local: started on first use, then reused, stopped by `local stop`.

It has its own ports, temporary directory and token; another Ray on the machine is not touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import importlib.util
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from .dashboard.client import RayJobsApi
from .dashboard.http import HttpClient
from .deadline import Deadline
from .errors import DeadlinePassed, JobsError, LocalFault
from .private_file import write_private

START_SECONDS = 120.0
STOP_SECONDS = 30.0


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

    http = HttpClient(ray.url, token=token)
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
        process, url = launch(base / "ray", token_file, log)
        ray = LocalRay(process.pid, url, str(token_file))
        try:
            await _until_it_answers(ray, process, log)
        except BaseException:  # After an interrupt too, no Ray runs that is not in the state file.
            end(process.pid)
            raise
        (base / "state.json").write_text(json.dumps(asdict(ray)))
        return ray


async def _until_it_answers(ray: LocalRay, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = Deadline(START_SECONDS)
    while not await _answers(ray, 0.2):
        if process.poll() is not None:
            lines = log.read_text(errors="replace").strip().splitlines()
            raise LocalFault(f"Ray did not start: {lines[-1] if lines else 'no message'}", f"See {log}.")
        if deadline.passed:
            raise DeadlinePassed(f"Ray did not answer within {START_SECONDS:.0f} s of its start.", f"See {log}.")
        await asyncio.sleep(0.3)


def launch(
    temp: Path, token_file: Path, log: Path, *, num_cpus: int | None = None, ports: dict[str, int] | None = None
) -> tuple[subprocess.Popen[bytes], str]:
    """Starts `ray start --head --block` in its own process session.

    Args:
        temp: Ray's temporary directory; a short path.
        token_file: The file with the token.
        log: Where the output of `ray start` goes.
        num_cpus: CPUs of the node; Ray counts them by default.
        ports: See `free_ports`, which is the default.

    Returns:
        The process and the dashboard's URL, which may not answer yet.
    """
    ports = ports or free_ports()
    # `python` in an entrypoint must be the one that has Ray.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environ = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    environ |= {"PATH": path, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token_file)}
    command = [
        sys.executable,
        "-c",
        "from ray.scripts.scripts import main; main()",
        "start",
        "--head",
        "--block",
        "--disable-usage-stats",
        "--node-ip-address=127.0.0.1",
        "--dashboard-host=127.0.0.1",
        f"--port={ports['gcs']}",
        f"--dashboard-port={ports['dashboard']}",
        f"--dashboard-agent-listen-port={ports['agent']}",
        f"--ray-client-server-port={ports['client']}",
        # The system chooses the workers' ports: Ray's fixed range collides with a second Ray.
        "--min-worker-port=0",
        "--max-worker-port=0",
        "--object-store-memory=200000000",
        f"--temp-dir={temp}",
    ]
    if num_cpus is not None:
        command.append(f"--num-cpus={num_cpus}")
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=environ,
            cwd=str(log.parent),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return process, f"http://127.0.0.1:{ports['dashboard']}"


def free_ports() -> dict[str, int]:
    """Four ports that are free now, by name. All are bound until the last is chosen, so that they differ."""
    with contextlib.ExitStack() as stack:
        ports = {}
        for name in ("gcs", "dashboard", "agent", "client"):
            bound = stack.enter_context(socket.socket())
            bound.bind(("127.0.0.1", 0))
            ports[name] = bound.getsockname()[1]
        return ports
