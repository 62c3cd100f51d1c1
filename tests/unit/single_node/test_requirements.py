"""What a machine lacks for the single node, in words, before anything is begun."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from single_node import cluster, requirements
from single_node.errors import NotPossible

Done = subprocess.CompletedProcess[str]


@pytest.fixture
def able(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which everything is there."""
    monkeypatch.setattr(requirements.platform, "system", lambda: "Linux")
    monkeypatch.setattr(requirements.os, "geteuid", lambda: 0)
    monkeypatch.setattr(requirements, "_memory", lambda: 8 * 1024**3)
    for name in ("_capability_problem", "_cgroup_problem", "_bridge_problem", "_network_problem"):
        monkeypatch.setattr(requirements, name, lambda: None)
    monkeypatch.setattr(requirements, "missing_programs", lambda: [])
    monkeypatch.setattr(requirements, "missing_images", lambda: [])
    monkeypatch.setattr(requirements, "kubectl_path", lambda: "/bin/kubectl")
    monkeypatch.setattr(requirements, "cni_folder", lambda: Path("/usr/lib/cni"))


@pytest.mark.usefixtures("able")
def test_a_machine_with_everything_has_no_problem() -> None:
    assert requirements.problems() == []


@pytest.mark.usefixtures("able")
def test_another_system_and_another_user_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements.os, "geteuid", lambda: 1000)
    assert requirements.problems() == ["it needs root (sudo make ...)"]
    monkeypatch.setattr(requirements.platform, "system", lambda: "Darwin")
    assert requirements.problems() == ["it needs Linux, and this is Darwin"]


@pytest.mark.usefixtures("able")
def test_little_memory_is_named_with_both_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "_memory", lambda: 1024**3)
    assert requirements.problems() == ["it needs 3 GiB of memory, and this machine has 1.0"]


@pytest.mark.usefixtures("able")
def test_go_is_only_needed_for_programs_that_are_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "go_problem", lambda: "the command `go` is missing")
    assert requirements.problems() == []
    monkeypatch.setattr(requirements, "missing_programs", lambda: ["kubelet"])
    assert requirements.problems() == ["the command `go` is missing"]


@pytest.mark.usefixtures("able")
def test_a_machine_that_cannot_is_told_before_anything_is_built(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(requirements.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(cluster, "install_packages", lambda: pytest.fail("it installed packages"))
    with pytest.raises(NotPossible, match=r"cannot run here: it needs root"):
        cluster.up(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_limit_of_a_container_counts_as_its_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(requirements, "MEMORY_LIMITS", (limit, tmp_path / "missing"))
    without = requirements._memory()
    limit.write_text("max\n")
    assert requirements._memory() == without
    limit.write_text(f"{1024**3}\n")
    assert requirements._memory() == 1024**3


def read(monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    monkeypatch.setattr(requirements.Path, "read_text", lambda self: content)


def test_a_container_without_rights_is_told_which(monkeypatch: pytest.MonkeyPatch) -> None:
    read(monkeypatch, "CapEff:\t000001ffffffffff\n")
    assert requirements._capability_problem() is None
    read(monkeypatch, "CapEff:\t00000000a80425fb\n")  # Docker's default
    assert requirements._capability_problem() == (
        "this container has no CAP_NET_ADMIN and no CAP_SYS_ADMIN (run it with --privileged)"
    )


@pytest.mark.parametrize(
    ("mounts", "problem"),
    [
        ("cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0", None),
        ("cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0", None),
        ("cgroup2 /sys/fs/cgroup cgroup2 ro,nosuid 0 0", "the cgroups at /sys/fs/cgroup can only be read"),
        ("proc /proc proc rw 0 0", "no cgroups are mounted at /sys/fs/cgroup"),
    ],
)
def test_cgroups_that_cannot_be_used_are_named(
    monkeypatch: pytest.MonkeyPatch, mounts: str, problem: str | None
) -> None:
    read(monkeypatch, mounts)
    assert requirements._cgroup_problem() == problem


def test_a_missing_kernel_module_is_named_before_anything_is_begun(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(requirements, "BRIDGED", tmp_path / "missing")
    monkeypatch.setattr(requirements, "_path", lambda: str(tmp_path))
    assert "package kmod" in str(requirements._bridge_problem())
    modprobe = tmp_path / "modprobe"
    for code, known in ((1, False), (0, True)):
        modprobe.write_text(f"#!/bin/sh\nexit {code}\n")
        modprobe.chmod(0o755)
        assert (requirements._bridge_problem() is None) is known
    modprobe.unlink()
    (tmp_path / "missing").touch()
    assert requirements._bridge_problem() is None


@pytest.mark.parametrize(
    ("link", "address", "taken"),
    [
        ("tun0", "10.246.0.2", True),
        ("raynative0", "10.246.0.1", False),  # our own, of a cluster that runs
        ("eth0", "10.0.0.5", False),
    ],
)
def test_a_link_with_an_address_of_the_nodes_network_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, link: str, address: str, taken: bool
) -> None:
    links = json.dumps([{}, {"ifname": link, "addr_info": [{"local": address, "prefixlen": 24}]}])
    ip = tmp_path / "ip"
    ip.write_text(f"#!/bin/sh\ncat <<'END'\n{links}\nEND\n")
    ip.chmod(0o755)
    monkeypatch.setattr(requirements, "_path", lambda: str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    problem = requirements._network_problem()
    assert problem == (f"the network 10.246.0.0/30 is in use: {link} has the address {address}" if taken else None)


def test_an_ip_command_without_json_is_no_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ip = tmp_path / "ip"
    ip.write_text("#!/bin/sh\necho BusyBox\n")
    ip.chmod(0o755)
    monkeypatch.setattr(requirements, "_path", lambda: str(tmp_path))
    assert requirements._network_problem() is None


# Packages


@pytest.fixture
def apt(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A machine without socat and conntrack; returns the commands that were run."""
    ran: list[list[str]] = []
    paths = {"socat": None, "conntrack": None}

    def run(command: Sequence[str], **_: object) -> Done:
        ran.append(list(command))
        return Done(command, 0, "", "")

    monkeypatch.setattr(requirements, "missing_images", lambda: [])
    monkeypatch.setattr(requirements, "cni_folder", lambda: Path("/usr/lib/cni"))
    monkeypatch.setattr(requirements.shutil, "which", lambda name, path=None: paths.get(name, f"/usr/bin/{name}"))
    monkeypatch.setattr(requirements.subprocess, "run", run)
    monkeypatch.setattr(requirements.sys.stdin, "isatty", lambda: False, raising=False)
    return ran


INSTALL = ["apt-get", "install", "-y", "--no-install-recommends", "conntrack", "socat"]


def test_packages_are_installed_where_nobody_can_be_asked(apt: list[list[str]]) -> None:
    requirements.install_packages()
    assert apt == [["apt-get", "update", "-qq"], [*INSTALL, "-qq"]]


@pytest.mark.parametrize("answer", ["y", "yes", "Y", "n", "", "x"])
def test_at_a_terminal_packages_are_installed_only_after_a_yes(
    apt: list[list[str]], monkeypatch: pytest.MonkeyPatch, answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(requirements.sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(requirements.sys.stdin, "readline", lambda: f"{answer}\n", raising=False)
    if answer.lower() in ("y", "yes"):
        requirements.install_packages()
        assert apt[1] == [*INSTALL, "-qq"]
    else:
        with pytest.raises(NotPossible) as error:
            requirements.install_packages()
        assert str(error.value).count("\n") == 0
        assert str(error.value).endswith(f"apt-get update && {' '.join(INSTALL)}")
        assert apt == []
    assert "Install conntrack socat? [y/N]" in capsys.readouterr().err


def test_without_apt_the_packages_are_named(apt: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    which = requirements.shutil.which
    monkeypatch.setattr(
        requirements.shutil, "which", lambda name, path=None: None if name == "apt-get" else which(name, path=path)
    )
    with pytest.raises(NotPossible, match="conntrack socat"):
        requirements.install_packages()
    assert apt == []


def test_a_failed_installation_says_why(apt: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        requirements.subprocess, "run", lambda command, **_: Done(command, 100, "", "E: Could not get lock\n")
    )
    with pytest.raises(NotPossible, match="Could not get lock"):
        requirements.install_packages()


def test_debootstrap_is_only_needed_for_images_that_are_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements.shutil, "which", lambda name, path=None: None)
    monkeypatch.setattr(requirements, "missing_images", lambda: [])
    assert "debootstrap" not in requirements.missing_packages()
    monkeypatch.setattr(requirements, "missing_images", lambda: ["ray.tar"])
    assert "debootstrap" in requirements.missing_packages()
    assert len(requirements.missing_packages()) == len(set(requirements.missing_packages()))
