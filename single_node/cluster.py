"""The life of the single-node Kubernetes: `up` builds what is missing, starts it, and waits for node and DNS.

It runs until `down`. Needs root on Linux, Go, and Debian's packages that an error names. One cluster at a time.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from . import node
from .cache import cache_root, locked, write_atomically
from .config import (
    CONTEXT,
    NODE_NAME,
    commands,
    containerd_socket,
    coredns_manifests,
    write_certificates,
    write_containerd,
    write_kubeconfig,
    write_kubelet,
)
from .errors import NotPossible, SingleNodeError
from .images import ensure_images, images_dir
from .programs.kubernetes import build
from .progress import say
from .requirements import install_packages, kubectl_path, problems

LOCK = Path("/run/ray-native.lock")
OWNER = Path("/run/ray-native.owner")  # the state directory of the cluster that runs, or last ran
# What a start replaces. Logs stay after the end, for reading.
STATE_PARTS = (
    *("apiserver", "cni", "cni-addresses", "config", "containerd", "containerd-opt", "controller-manager", "etcd"),
    *("kubeconfig", "kubelet", "kubelet-certificates", "kubelet-plugins", "pids", "pki", "pod-logs", "runc"),
    *("scheduler", "containerd.sock", "containerd.sock.ttrpc", "boot"),
)


def default_state() -> Path:
    return cache_root() / "native" / "state"


def running_state() -> Path | None:
    """The state directory of the cluster that runs on this machine now; None: no cluster runs."""
    state = _owner()
    return state if state and any(pid is not None for pid in node.running(state).values()) else None


def _owner() -> Path | None:
    """The state directory of the cluster that runs, or last ran."""
    text = OWNER.read_text() if OWNER.exists() else ""
    return Path(text) if Path(text).is_absolute() else None


def containerd_root() -> Path:
    """containerd's contents, kept between runs: importing the images anew would cost most of a start."""
    return cache_root() / "native" / "containerd"


def up(state: Path) -> Path:
    """Starts the cluster, unless it runs and answers, and returns the kubeconfig's path.

    Raises:
        NotPossible: this machine cannot run it, or lacks programs. Nothing was begun.
        SingleNodeError: it did not start. Nothing of it is left.
    """
    if found := problems():
        raise NotPossible(f"The single-node Kubernetes cannot run here: {'; '.join(found)}.")
    if len(str(state)) > 70:
        raise NotPossible(f"--state: the path {state} is too long for the sockets in it; at most 70 characters.")
    _refuse_foreign(state)
    install_packages()
    if found := problems():  # some are seen only with the packages
        raise NotPossible(f"The single-node Kubernetes cannot run here: {'; '.join(found)}.")
    _refuse_another(state)  # before minutes of builds
    build()
    ensure_images()
    with _exclusive(state):
        if healthy(state):
            say("it is running already")
            _complete(state)  # the start may have been killed before this
        else:
            _clear(state)
            try:
                _start(state)
            except BaseException:
                node.stop_all(state)
                node.remove_leftovers(state, containerd_root())
                raise
    return state / "kubeconfig"


def down(state: Path) -> None:
    """Stops the cluster and removes everything that it created here, except logs and cache. Safe to repeat.

    Raises:
        NotPossible: this is not root.
        SingleNodeError: another cluster runs, or a process does not end.
    """
    if not state.exists() and _owner() != state:
        return
    _refuse_foreign(state)
    if os.geteuid() != 0:
        raise NotPossible("Only root can stop the single-node Kubernetes (sudo make cluster-down).")
    with _exclusive(state):
        _clear(state)
        OWNER.unlink(missing_ok=True)


def healthy(state: Path) -> bool:
    """Whether all processes run and the API server answers that it is ready.

    After a start that was killed some were never started, and those that run do not show it.
    """
    processes = node.running(state)
    if any(processes.get(name) is None for name in commands(state)):
        return False
    return _kubectl(state, "get", "--raw", "/readyz", "--request-timeout=5s").returncode == 0


@contextmanager
def _exclusive(state: Path) -> Iterator[None]:
    """Excludes other starts and stops, and other state directories while their cluster runs."""
    with locked(LOCK):
        _refuse_another(state)
        other = _owner()
        if other and other != state:
            _clear(other)
        write_atomically(OWNER, str(state))
        yield


def _refuse_foreign(state: Path) -> None:
    if not node.is_state(state):
        raise NotPossible(f"--state: {state} has files that are not the cluster's. Name an empty or a new folder.")


def _refuse_another(state: Path) -> None:
    running = running_state()
    if running and running != state:
        raise SingleNodeError(
            f"Another single-node cluster runs, with the state directory {running}; there can be one at a time. "
            f"Stop it: python -m ops cluster down --state {running}"
        )


def _clear(state: Path) -> None:
    """Removes everything of an earlier run, wherever it ended."""
    node.stop_all(state)
    node.remove_leftovers(state, containerd_root())
    for part in STATE_PARTS:
        path = state / part
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _start(state: Path) -> None:
    started = time.monotonic()
    node.mark(state)
    (state / "config").mkdir(parents=True)
    write_certificates(state / "pki")
    for client in ("controller-manager", "scheduler", "kubelet", "proxy"):
        write_kubeconfig(state / "config" / f"{client}.kubeconfig", state / "pki", client)
    write_kubeconfig(state / "kubeconfig", state / "pki", "admin")
    write_containerd(state, containerd_root())
    write_kubelet(state)
    node.save_kernel_settings(state)
    node.create_cgroups()
    node.create_network()
    command = commands(state)

    for name in ("etcd", "kube-apiserver"):
        node.start(state, name, command[name])
    _start_containerd(state, command["containerd"])
    import_images(state)
    ready = ("get", "--raw", "/readyz")
    _until(state, lambda: _kubectl(state, *ready).returncode == 0, "the API server's readiness", 120)
    for name in ("kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"):
        node.start(state, name, command[name])
    _complete(state)
    say(f"ready after {time.monotonic() - started:.0f} s")


def _complete(state: Path) -> None:
    """Starts CoreDNS, and waits for it and for the node. Safe to repeat."""
    manifests = json.dumps({"apiVersion": "v1", "kind": "List", "items": coredns_manifests()})
    applied = _kubectl(state, "apply", "--validate=false", "-f", "-", stdin=manifests)
    if applied.returncode != 0:
        raise SingleNodeError(f"CoreDNS was refused: {applied.stderr.strip()}")
    _until(state, lambda: _kubectl(state, "get", "node", NODE_NAME).returncode == 0, "the node's registration", 60)
    for condition in (
        f"node/{NODE_NAME} --for=condition=Ready",
        "-n kube-system deployment/coredns --for=condition=Available",
    ):
        waited = _kubectl(state, "wait", *condition.split(), "--timeout=120s")
        if waited.returncode != 0:
            raise SingleNodeError(f"`kubectl wait {condition}`: {waited.stderr.strip()} Logs: {state}/logs")


def _until(state: Path, met: Callable[[], bool], description: str, seconds: float) -> None:
    """Waits for a condition, and gives up at once when a process has died."""

    def met_or_dead() -> bool:
        dead = [name for name, pid in node.running(state).items() if pid is None]
        if dead:
            log = state / "logs" / f"{dead[0]}.log"
            raise SingleNodeError(f"{dead[0]} ended unexpectedly; the end of {log}:\n{log.read_text()[-1500:]}")
        return met()

    node.until(met_or_dead, f"{description} (logs in {state}/logs)", seconds)


def _start_containerd(state: Path, command: list[str]) -> None:
    node.start(state, "containerd", command)
    _until(state, lambda: _ctr(state, "version").returncode == 0, "containerd's start", 60)
    if stale := _ctr(state, "containers", "ls", "-q").stdout.split():
        # containerd still lists containers of the last run. Remove them and start it again.
        _ctr(state, "containers", "rm", *stale)
        node.stop(state, "containerd")
        node.start(state, "containerd", command)
        _until(state, lambda: _ctr(state, "version").returncode == 0, "containerd's second start", 60)


def import_images(state: Path) -> None:
    """Imports the archives that the containerd of a running cluster does not have yet, by name, size and time.

    Raises:
        SingleNodeError: containerd refuses one of them.
    """
    record = containerd_root() / "imported.json"
    known = _json(record) if record.exists() else {}
    for archive in sorted(images_dir().glob("*.tar")):
        stamp = [archive.stat().st_size, archive.stat().st_mtime_ns]
        if known.get(archive.name) != stamp:
            say(f"importing {archive.name}")
            done = _ctr(state, "images", "import", str(archive))
            if done.returncode != 0:
                raise SingleNodeError(f"The image archive {archive} cannot be imported: {done.stderr.strip()}")
            known[archive.name] = stamp
            write_atomically(record, json.dumps(known, indent=2))


def _json(file: Path) -> dict[str, object]:
    """The content of a record; an unreadable one only means that the images are imported again."""
    try:
        content: dict[str, object] = json.loads(file.read_text())
    except ValueError:
        return {}
    return content


def _ctr(state: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return _client(state, ["ctr", "--address", str(containerd_socket(state)), "--namespace", "k8s.io", *arguments])


def _kubectl(state: Path, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [kubectl_path() or "kubectl", "--kubeconfig", str(state / "kubeconfig"), "--context", CONTEXT, *arguments]
    return _client(state, command, stdin)


def _client(state: Path, command: list[str], stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    # With the mark of the state directory: one that waits when its caller is killed is ended by the next stop.
    environment = {**os.environ, node.MARKER: str(state)}
    return subprocess.run(command, input=stdin, capture_output=True, text=True, env=environment, check=False)
