"""Processes of the single node are found after any end, and never taken for others."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from single_node import cluster, node
from single_node.errors import NotPossible, SingleNodeError


@pytest.fixture
def state(tmp_path: Path) -> Path:
    state = tmp_path / "state"
    node.mark(state)
    (state / "pids").mkdir()
    return state


@pytest.fixture
def process(state: Path) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"], env={**os.environ, node.MARKER: str(state)}) as process:
        yield process
        process.kill()


def record(state: Path, process: subprocess.Popen[bytes]) -> None:
    (state / "pids" / "etcd").write_text(f"{process.pid} {node._birth(process.pid)}")


def test_a_recorded_process_runs_until_it_ends(state: Path, process: subprocess.Popen[bytes]) -> None:
    record(state, process)
    assert node.running(state) == {"etcd": process.pid}
    process.kill()
    process.wait()
    assert node.running(state) == {"etcd": None}


@pytest.mark.parametrize("content", ["", "12", "x y", "1 0"])
def test_a_pid_file_that_a_kill_cut_off_or_of_another_process_is_of_no_process(state: Path, content: str) -> None:
    (state / "pids" / "etcd").write_text(content)
    assert node.running(state) == {"etcd": None}


def test_pid_files_of_an_earlier_boot_do_not_count(state: Path, process: subprocess.Popen[bytes]) -> None:
    record(state, process)  # the same number and start time, after a restart of the machine
    (state / "boot").write_text("another-boot")
    assert node.running(state) == {"etcd": None}
    node.stop(state, "etcd")
    assert process.poll() is None


def test_kernel_settings_of_an_earlier_boot_are_not_put_back(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "run", lambda *command, quiet=False: "")
    monkeypatch.setattr(node, "root_cgroups", list)
    (state / "kernel-settings.json").write_text('{"no/such/setting": "1"}')
    (state / "boot").write_text("another-boot")
    node.remove_leftovers(state, state / "root")
    assert not (state / "kernel-settings.json").exists()


def test_a_process_whose_starter_was_killed_before_the_pid_file_is_found(
    state: Path, process: subprocess.Popen[bytes]
) -> None:
    node.until(lambda: list(node._unrecorded(state)) == [process.pid], "the process", 10)
    assert list(node._unrecorded(state.with_name("other"))) == []
    record(state, process)
    assert list(node._unrecorded(state)) == []  # it ends in its order


def test_a_folder_with_other_files_is_refused_and_keeps_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "problems", list)
    monkeypatch.setattr(cluster, "OWNER", tmp_path / "owner")
    monkeypatch.chdir(tmp_path)
    project = Path("project")  # a short path: sockets of the cluster would be in it
    (project / "config").mkdir(parents=True)
    for act in (cluster.up, cluster.down):
        with pytest.raises(NotPossible, match="has files that are not the cluster's"):
            act(project)
    assert (project / "config").is_dir()


def test_an_owner_file_that_a_kill_cut_off_names_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty path would be the current folder, and a start deletes parts of its state directory."""
    monkeypatch.setattr(cluster, "OWNER", tmp_path / "owner")
    for content in ("", "state"):
        (tmp_path / "owner").write_text(content)
        assert cluster._owner() is None
        assert cluster.running_state() is None


def test_another_cluster_that_runs_is_named_before_anything_is_built(
    state: Path, process: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(state, process)
    monkeypatch.setattr(cluster, "OWNER", tmp_path / "owner")
    (tmp_path / "owner").write_text(str(state))
    for name in ("problems", "install_packages"):
        monkeypatch.setattr(cluster, name, list)
    monkeypatch.setattr(cluster, "build", lambda: pytest.fail("it built"))
    monkeypatch.setattr(node, "stop_all", lambda state: pytest.fail("it stopped"))
    with pytest.raises(SingleNodeError, match=f"ops cluster down --state {state}"):
        cluster.up(Path("/tmp/other"))


def test_a_path_too_long_for_sockets_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "problems", list)
    with pytest.raises(NotPossible, match="at most 70 characters"):
        cluster.up(Path("/tmp", "x" * 66))


def test_a_client_that_outlives_its_caller_is_found(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(f"#!/bin/sh\necho ${node.MARKER}\n")
    kubectl.chmod(0o755)
    monkeypatch.setattr(cluster, "kubectl_path", lambda: str(kubectl))
    assert cluster._kubectl(state, "wait").stdout.strip() == str(state)


def test_a_cluster_whose_start_was_killed_halfway_is_not_healthy(
    state: Path, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API server answers, and kube-proxy was never started."""
    monkeypatch.setattr(cluster, "_kubectl", lambda *arguments: subprocess.CompletedProcess(arguments, 0, "ok", ""))
    names = list(cluster.commands(state))
    birth = f"{process.pid} {node._birth(process.pid)}"
    for name in names[:-1]:
        (state / "pids" / name).write_text(birth)
    assert not cluster.healthy(state)
    (state / "pids" / names[-1]).write_text(birth)
    assert cluster.healthy(state)


# Cgroups


def test_the_root_of_cgroup_v2_gives_its_children_what_the_kubelet_needs(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory pids")
    control = tmp_path / "cgroup.subtree_control"
    control.write_text("cpu memory")
    written: list[str] = []
    write = Path.write_text

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "write_text", lambda self, text: written.append(text) or write(self, text))
        node._enable_controllers(tmp_path)
    assert written == ["+cpuset", "+pids"]


def test_controllers_that_cannot_be_enabled_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory")
    (tmp_path / "cgroup.subtree_control").write_text("")

    def busy(self: Path, text: str) -> int:
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(Path, "write_text", busy)
    with pytest.raises(SingleNodeError, match=r"controllers cpu, memory cannot be enabled.*busy"):
        node._enable_controllers(tmp_path)


def test_cgroup_v1_has_no_controllers_to_enable(tmp_path: Path) -> None:
    node._enable_controllers(tmp_path)
    assert list(tmp_path.iterdir()) == []
