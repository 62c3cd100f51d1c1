"""Processes, network and leftovers of the native cluster: start, look, and stop without a trace.

Every process is the leader of its own session and outlives the program that started it. It can be found by its file in
the state directory, by its environment and, for containers, in their root cgroup. So an end by `kill -9` of anybody can
be tidied up.
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

from .cache import write_atomically
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
BRIDGED = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
KERNEL_SETTINGS = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops")
# In each process's environment: the state directory. It finds one that was started just before a kill, without a file.
MARKER = "RAY_SINGLE_NODE_STATE"
# What the kubelet and runc need of cgroup v2.
CONTROLLERS = ("cpu", "cpuset", "hugetlb", "memory", "pids")
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
            env={**environment, "PATH": _path(), MARKER: str(state)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    write_atomically(state / "pids" / name, f"{process.pid} {_birth(process.pid)}")


def mark(state: Path) -> None:
    """Marks a directory as a cluster's, and of this boot: pids and start times repeat after a restart."""
    write_atomically(state / "boot", _boot_id())


def is_state(folder: Path) -> bool:
    """Whether a folder is a cluster's state directory, or can become one because it is empty or missing."""
    parts = ("boot", "pids", "logs/etcd.log", "logs/containerd.log")
    return not folder.exists() or not any(folder.iterdir()) or any((folder / part).exists() for part in parts)


def _of_earlier_boot(state: Path) -> bool:
    boot = state / "boot"
    return boot.exists() and boot.read_text() != _boot_id()


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


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
    earlier = _of_earlier_boot(state)
    for file in sorted((state / "pids").glob("[!.]*")):
        pid, _, birth = file.read_text().partition(" ")
        alive = not earlier and pid.isdigit() and _birth(int(pid)) == birth
        processes[file.name] = int(pid) if alive else None
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
    until(lambda: not _kill(_unrecorded(state)), "the end of the processes without a pid file", 20)
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


def _unrecorded(state: Path) -> Iterator[int]:
    """Processes of this state directory without a pid file. containerd and its shims end later, in their order."""
    recorded = set(running(state).values())
    marker = f"{MARKER}={state}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        try:
            ours = marker in (folder / "environ").read_bytes().split(b"\0")
            command = (folder / "cmdline").read_bytes().split(b"\0")[0] if ours else b""
        except OSError:
            continue
        if ours and pid not in recorded and b"containerd-shim" not in command and _birth(pid) is not None:
            yield pid


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
        except OSError:
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
    if modprobe := shutil.which("modprobe", path=_path()):
        run(modprobe, "-q", "br_netfilter", quiet=True)
    inside = ("nsenter", f"--net=/run/netns/{NAMESPACE}", "--", "sh", "-c")
    run(*inside, "echo 1 > /proc/sys/net/ipv4/ip_forward")
    if not BRIDGED.exists():
        raise SingleNodeError("The kernel module br_netfilter cannot be loaded: services do not work without it.")
    run(*inside, f"echo 1 > {BRIDGED}")


def root_cgroups() -> list[Path]:
    """The containers' root cgroup, in every hierarchy where it exists."""
    return [mount / NAMESPACE for mount in _hierarchies() if (mount / NAMESPACE).is_dir()]


def _hierarchies() -> list[Path]:
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    return [Path(mount[1]) for mount in mounts if mount[2] in ("cgroup", "cgroup2")]


def create_cgroups() -> None:
    """The containers' root cgroup, in every hierarchy."""
    for mount in _hierarchies():
        try:
            _enable_controllers(mount)
            (mount / NAMESPACE).mkdir(exist_ok=True)
        except OSError as error:
            raise SingleNodeError(f"The cgroups at {mount} cannot be used: {error.strerror}.") from error
        # A cpuset of version 1 starts empty, and nothing can run in it until it is filled.
        for name in ("cpuset.cpus", "cpuset.mems"):
            if (mount / "cpuset.cpu_exclusive").exists():
                (mount / NAMESPACE / name).write_text((mount / name).read_text())


def _enable_controllers(mount: Path) -> None:
    """Cgroup v2: children of the root have only the controllers that it enables. They stay enabled at the end."""
    enabled = mount / "cgroup.subtree_control"
    if not enabled.exists():
        return
    available = (mount / "cgroup.controllers").read_text().split()
    missing = set(CONTROLLERS) & set(available) - set(enabled.read_text().split())
    try:
        for name in sorted(missing):
            enabled.write_text(f"+{name}")
    except OSError as error:
        raise SingleNodeError(
            f"The cgroup controllers {', '.join(sorted(missing))} cannot be enabled in {enabled}: {error.strerror}. "
            "In a container: its processes have to be in a child of the root cgroup."
        ) from error


def save_kernel_settings(state: Path) -> None:
    values = {name: Path("/proc/sys", name).read_text().strip() for name in KERNEL_SETTINGS}
    write_atomically(state / "kernel-settings.json", json.dumps(values))


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
        if not _of_earlier_boot(state):
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
