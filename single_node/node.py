"""Processes, network and leftovers of the native cluster: start, look, and stop without a trace.

Every process is the leader of its own session and outlives the program that started it; what is needed to stop it is in
the state directory and, for containers, in their root cgroup. So an end by `kill -9` of anybody can be tidied up.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .config import (
    HOST_ADDRESS,
    HOST_LINK,
    NAMESPACE,
    NODE_ADDRESS,
    SERVICE_RANGE,
    containerd_socket,
)
from .errors import SingleNodeError
from .progress import say

# What the kubelet sets for the whole machine; put back at the end.
KERNEL_SETTINGS = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def run(*command: str, quiet: bool = False) -> str:
    """Runs a short command and returns its stdout. `quiet`: a failure is expected and no error."""
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PATH": _path()}, check=False)
    if done.returncode != 0 and not quiet:
        raise SingleNodeError(f"`{' '.join(command)}` failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:{PATH}"


def until(met: Callable[[], bool], what: str, seconds: float, pause: float = 0.2) -> None:
    """Waits for a condition. The error says what did not happen."""
    deadline = time.monotonic() + seconds
    while not met():
        if time.monotonic() > deadline:
            raise SingleNodeError(f"{what}: not within {seconds:.0f} s.")
        time.sleep(pause)


# Processes


def start(state: Path, name: str, command: list[str]) -> None:
    """Starts a process inside the network namespace; its output goes to `logs/NAME.log`."""
    (state / "logs").mkdir(exist_ok=True)
    (state / "pids").mkdir(exist_ok=True)
    environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    with (state / "logs" / f"{name}.log").open("w") as log:
        # nsenter replaces itself by the program: the pid is the program's.
        process = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{NAMESPACE}", "--", *command],
            cwd=state,
            env={**environment, "PATH": _path()},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    (state / "pids" / name).write_text(f"{process.pid} {_birth(process.pid)}")


def _birth(pid: int) -> str | None:
    """A process's start time in clock ticks, which tells it from a later one of the same number; None if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else fields[19]


def running(state: Path) -> dict[str, int | None]:
    """Name -> pid of every process that was started in this state directory; None: it is gone."""
    processes: dict[str, int | None] = {}
    for file in sorted((state / "pids").glob("*")):
        pid, _, birth = file.read_text().partition(" ")
        processes[file.name] = int(pid) if pid and _birth(int(pid)) == birth else None
    return processes


def stop(state: Path, name: str, patience: float = 5.0) -> None:
    """Ends one process: SIGTERM, then SIGKILL."""
    pid = running(state).get(name)
    if pid is not None:
        _signal(pid, signal.SIGTERM)
        deadline = time.monotonic() + patience
        while running(state)[name] is not None and time.monotonic() < deadline:
            time.sleep(0.05)
        if running(state)[name] is not None:
            _signal(pid, signal.SIGKILL)
            until(lambda: running(state)[name] is None, f"the end of {name} (pid {pid})", 10)
    (state / "pids" / name).unlink(missing_ok=True)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def stop_all(state: Path) -> None:
    """Ends all processes and the containers, whatever is left of them."""
    # The kubelet first: it would restart the others.
    for name in ("kubelet", *running(state)):
        if name != "containerd":
            stop(state, name)
    tasks = list((state / "containerd").glob("io.containerd.runtime.v2.task/*/*"))
    sockets = [(task / "address").read_text() for task in tasks if (task / "address").exists()]
    until(lambda: not _kill(_containers()), "the end of the containers' processes", 20)
    until(lambda: not _kill(_shims(state)), "the end of the containers' shims", 20)
    stop(state, "containerd")
    # Both places are fixed: a killed shim leaves its socket, a killed pod its record of the network plugins.
    for socket in sockets:
        Path(socket.removeprefix("unix://")).unlink(missing_ok=True)
    for task in tasks:
        for record in Path("/var/lib/cni/results").glob(f"*-{task.name}-*"):
            record.unlink()


def _kill(pids: Iterator[int]) -> bool:
    """Kills processes and returns whether there were any."""
    targets = list(pids)
    for pid in targets:
        _signal(pid, signal.SIGKILL)
    return bool(targets)


def _containers() -> Iterator[int]:
    # Cgroups vanish meanwhile. os.walk ignores that; rglob would raise.
    for folder in (path for cgroup in root_cgroups() for path, _, _ in os.walk(cgroup)):
        with contextlib.suppress(OSError):
            for line in Path(folder, "cgroup.procs").read_text().split():
                if _birth(int(line)) is not None:
                    yield int(line)


def _shims(state: Path) -> Iterator[int]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if b"containerd-shim" in words[0] and str(containerd_socket(state)).encode() in words:
            yield int(folder.name)


# Network, cgroups, mounts


def create_network() -> None:
    """The network namespace, its link to the machine, and the routing between them."""
    run("ip", "netns", "add", NAMESPACE)
    run("ip", "link", "add", HOST_LINK, "type", "veth", "peer", "name", "eth0", "netns", NAMESPACE)
    run("ip", "addr", "add", f"{HOST_ADDRESS}/30", "dev", HOST_LINK)
    run("ip", "link", "set", HOST_LINK, "up")
    run("ip", "-n", NAMESPACE, "link", "set", "lo", "up")
    run("ip", "-n", NAMESPACE, "addr", "add", f"{NODE_ADDRESS}/30", "dev", "eth0")
    run("ip", "-n", NAMESPACE, "link", "set", "eth0", "up")
    # Service addresses need a route before iptables can rewrite them. There is no other way out, so that what asks
    # for one (an image's registry, say) is refused at once and not after a timeout.
    run("ip", "-n", NAMESPACE, "route", "add", SERVICE_RANGE, "via", HOST_ADDRESS)
    run("modprobe", "-q", "br_netfilter", quiet=True) if shutil.which("modprobe") else None
    inside = ("nsenter", f"--net=/run/netns/{NAMESPACE}", "--", "sh", "-c")
    run(*inside, "echo 1 > /proc/sys/net/ipv4/ip_forward")
    bridged = "/proc/sys/net/bridge/bridge-nf-call-iptables"
    if not Path(bridged).exists():
        raise SingleNodeError("The kernel module br_netfilter is missing: services do not work without it.")
    run(*inside, f"echo 1 > {bridged}")


def root_cgroups() -> list[Path]:
    """The containers' root cgroup, in every hierarchy where it exists."""
    return [mount / NAMESPACE for mount in _hierarchies() if (mount / NAMESPACE).is_dir()]


def _hierarchies() -> list[Path]:
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    return [Path(mount[1]) for mount in mounts if mount[2] in ("cgroup", "cgroup2")]


def create_cgroups() -> None:
    """The containers' root cgroup, in every hierarchy."""
    for mount in _hierarchies():
        (mount / NAMESPACE).mkdir(exist_ok=True)
        # A cpuset of version 1 starts empty, and nothing can run in it until it is filled.
        for name in ("cpuset.cpus", "cpuset.mems"):
            if (mount / "cpuset.cpu_exclusive").exists():
                (mount / NAMESPACE / name).write_text((mount / name).read_text())


def save_kernel_settings(state: Path) -> None:
    values = {name: Path("/proc/sys", name).read_text().strip() for name in KERNEL_SETTINGS}
    (state / "kernel-settings.json").write_text(json.dumps(values))


def remove_leftovers(state: Path, root: Path) -> None:
    """Undoes mounts, network, cgroups and kernel settings. For stopped processes only; safe to repeat."""
    for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
        place = line.split()[1].replace("\\040", " ")
        if place.startswith((f"{state}/", f"{root}/")):
            run("umount", "-l", place, quiet=True)
    run("ip", "link", "del", HOST_LINK, quiet=True)
    run("ip", "netns", "del", NAMESPACE, quiet=True)
    for cgroup in root_cgroups():
        for folder in sorted((Path(path) for path, _, _ in os.walk(cgroup)), reverse=True):
            if folder.is_dir():
                _remove_cgroup(folder)
    settings = state / "kernel-settings.json"
    if settings.exists():
        for name, value in json.loads(settings.read_text()).items():
            Path("/proc/sys", name).write_text(value)
        settings.unlink()


def _remove_cgroup(folder: Path) -> None:
    # Killed processes leave their cgroup a moment after they have left /proc.
    for _ in range(50):
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.05)
        else:
            return
    say(f"the cgroup {folder} is still in use and stays")
