"""The life of the single node on this machine: killed at any moment, refused by name, and gone without a trace.

It needs the machine for itself, so it runs before the tests that share a cluster (conftest.py), and not beside one.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from single_node import cluster, node, requirements
from single_node.config import HOST_ADDRESS, HOST_LINK, NAMESPACE
from tests.support.command import ROOT

KILLS = 10
# A start takes about 15 seconds with everything cached, a stop 5. A kill hits every part of both.
START_SECONDS, STOP_SECONDS = 15.0, 4.0


def ops(state: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "ops", "cluster", *words, "--state", str(state)]


def run(state: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(ops(state, *words), cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def succeed(state: Path, *words: str) -> str:
    done = run(state, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def kill(state: Path, word: str, moment: float) -> None:
    """Ends `up` or `down` by SIGKILL after some seconds; the programs that it started live on."""
    process = subprocess.Popen(
        ops(state, word), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    time.sleep(moment)
    process.kill()
    process.wait()


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def add_link(name: str) -> None:
    """Adds a network link, with a peer that goes away with it. Not every kernel has links of the kind `dummy`."""
    output("ip", "link", "add", name, "type", "veth", "peer", "name", "raypeer0")


def traces(state: Path) -> dict[str, set[str]]:
    """What a cluster can leave on the machine, by kind."""
    folders = {
        "plugin records": Path("/var/lib/cni/results"),
        "shim sockets": Path("/run/containerd/s"),
        "network namespaces": Path("/run/netns"),
    }
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    cgroups = [Path(mount[1]) for mount in mounts if mount[2] in ("cgroup", "cgroup2")]
    processes = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            text = (folder / "environ").read_bytes() + (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if str(state).encode() in text:
            processes.add(folder.name)
    return {
        "processes": processes,
        "containers' processes": {str(pid) for pid in node._containers()},
        "mounts": {mount[1] for mount in mounts},
        "links": {line.split(":")[1].strip() for line in output("ip", "-o", "link").splitlines()},
        "cgroups": {str(path) for mount in cgroups for path in mount.iterdir() if path.is_dir()},
        # without counters and dates
        "iptables rules": {
            re.sub(r"\[\d+:\d+\]", "", line)
            for line in output("iptables-save").splitlines()
            if not line.startswith("#")
        },
        "kernel settings": {f"{name}={Path('/proc/sys', name).read_text()}" for name in node.KERNEL_SETTINGS},
        **{kind: {path.name for path in folder.glob("*")} for kind, folder in folders.items()},
    }


def leftovers(state: Path, before: dict[str, set[str]]) -> dict[str, set[str]]:
    """What is there now and was not there before."""
    return {kind: new for kind, now in traces(state).items() if (new := now - before[kind])}


@pytest.fixture(scope="module", autouse=True)
def _machine_for_itself() -> None:
    if os.environ.get("TEST_CLUSTER", "native") != "native":
        pytest.skip("these tests are about the native cluster")
    if reasons := [*requirements.problems(), *filter(None, [requirements.packages_problem()])]:
        pytest.skip(f"the native cluster cannot run here: {'; '.join(reasons)}")
    if running := cluster.running_state():
        pytest.skip(f"a cluster runs already, with the state directory {running}")
    # A cluster whose processes were all killed left its traces here, such as kernel settings. The next start removes
    # them, so they are not what was there "before".
    if killed := cluster._owner():
        cluster.down(killed)
    # Builds what is missing, so that the starts below take seconds.
    cluster.build()
    cluster.ensure_images()


@pytest.fixture
def state() -> Iterator[Path]:
    """A state directory of its own; short, because of the sockets in it."""
    folder = Path(tempfile.mkdtemp(prefix="ray-node-", dir="/tmp"))
    yield folder
    subprocess.run(ops(folder, "down"), cwd=ROOT, capture_output=True, timeout=300, check=False)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def before(state: Path) -> dict[str, set[str]]:
    """The traces on the machine before the test."""
    output("iptables-save")  # the first call of a machine makes the tables
    return traces(state)


@pytest.mark.timeout(1200, func_only=True)
def test_after_a_kill_at_any_moment_the_next_start_works_and_a_stop_leaves_nothing(
    state: Path, before: dict[str, set[str]]
) -> None:
    moments = random.Random(12)
    for number in range(KILLS):
        word = "down" if number % 3 == 2 else "up"
        if word == "down":
            succeed(state, "up")
        moment = moments.uniform(0.3, STOP_SECONDS if word == "down" else START_SECONDS)
        kill(state, word, moment)
        try:
            if number % 3 == 1:  # a stop after a killed start
                succeed(state, "down")
                assert leftovers(state, before) == {}
            else:
                succeed(state, "up")
                succeed(state, "status")  # healthy: all processes run
        except AssertionError as error:
            error.add_note(f"`{word}` number {number} was killed after {moment:.2f} s")
            raise
        if number % 3 == 0:  # the next `up` is one of an empty machine
            succeed(state, "down")
    succeed(state, "up")
    succeed(state, "down")
    assert leftovers(state, before) == {}
    assert run(state, "status").returncode == 1
    succeed(state, "down")  # safe to repeat


@pytest.mark.timeout(300, func_only=True)
def test_a_second_cluster_is_refused_by_name_and_the_first_one_lives(state: Path, before: dict[str, set[str]]) -> None:
    assert succeed(state, "up").strip() == str(state / "kubeconfig")
    processes = node.running(state)
    other = state.with_name(f"{state.name}-b")
    for word in ("up", "down"):
        # A state directory that is new has nothing to stop.
        refused = run(other, word)
        if word == "up":
            assert refused.returncode == 1
            assert f"python -m ops cluster down --state {state}" in refused.stderr
        else:
            assert refused.returncode == 0
    assert node.running(state) == processes
    assert not other.exists()
    assert "it is running already" in run(state, "up").stderr
    assert node.running(state) == processes
    succeed(state, "down")
    assert leftovers(state, before) == {}


@pytest.mark.timeout(300, func_only=True)
def test_files_of_an_earlier_boot_and_a_taken_link_do_not_hinder_a_start(
    state: Path, before: dict[str, set[str]]
) -> None:
    # A machine that went down with a running cluster: its pid is another process's now.
    (state / "pids").mkdir()
    with subprocess.Popen(["sleep", "300"]) as bystander:
        try:
            (state / "pids" / "etcd").write_text(f"{bystander.pid} {node._birth(bystander.pid)}")
            (state / "boot").write_text("another-boot")
            add_link(HOST_LINK)
            output("ip", "netns", "add", NAMESPACE)
            succeed(state, "up")
            assert bystander.poll() is None
        finally:
            bystander.kill()
    succeed(state, "down")
    assert leftovers(state, before) == {}


def test_an_address_that_another_link_has_is_named_before_anything_is_begun(
    state: Path, before: dict[str, set[str]]
) -> None:
    add_link("raytaken0")
    try:
        output("ip", "addr", "add", f"{HOST_ADDRESS}/30", "dev", "raytaken0")
        refused = run(state, "up")
    finally:
        output("ip", "link", "del", "raytaken0")
    assert refused.returncode == 1
    assert f"raytaken0 has the address {HOST_ADDRESS}" in refused.stderr
    assert list(state.iterdir()) == []
    assert leftovers(state, before) == {}


def test_a_process_that_ended_is_named_by_the_status(state: Path, before: dict[str, set[str]]) -> None:
    succeed(state, "up")
    pid = node.running(state)["kube-scheduler"]
    assert pid is not None
    os.kill(pid, 9)
    node.until(lambda: node.running(state)["kube-scheduler"] is None, "the scheduler's end", 10)
    status = run(state, "status")
    assert status.returncode == 1
    assert "kube-scheduler: gone" in status.stdout
    succeed(state, "up")
    succeed(state, "status")
    succeed(state, "down")
    assert leftovers(state, before) == {}
