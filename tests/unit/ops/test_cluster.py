"""`python -m ops cluster`: what a person reads."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from ops.cluster import cluster_command
from single_node import cluster, images, keeper, node, requirements
from single_node.errors import SingleNodeError
from single_node.programs import kubernetes

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_E2E_CACHE", str(tmp_path))
    monkeypatch.setattr(cluster, "running_state", lambda: None)
    monkeypatch.setattr(requirements, "missing_packages", lambda: ["socat"])
    monkeypatch.setattr(requirements, "problems", lambda: ["it needs root (sudo make ...)"])


def test_the_status_of_an_empty_machine_says_what_is_missing(tmp_path: Path) -> None:
    result = CliRunner().invoke(cluster_command, ["status"])
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        f"cluster:      not running (Kubernetes v{kubernetes.KUBERNETES_VERSION})",
        "start it:     make cluster",
        f"cache:        {tmp_path}",
        f"to build:     {', '.join(kubernetes.missing_programs())}",
        "to make:      pause-3.10.tar, coredns-v1.12.4.tar, ray-2.60.0.tar, redis-7.4.6.tar",
        "to install:   socat",
        "not possible: it needs root (sudo make ...)",
    ]


@pytest.mark.parametrize(("healthy", "words", "code"), [(True, "healthy", 0), (False, "not healthy", 1)])
def test_the_status_names_each_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, healthy: bool, words: str, code: int
) -> None:
    monkeypatch.setattr(cluster, "healthy", lambda state: healthy)
    monkeypatch.setattr(node, "running", lambda state: {"etcd": 12, "kubelet": None if not healthy else 13})
    result = CliRunner().invoke(cluster_command, ["status", "--state", str(tmp_path / "state")])
    assert result.exit_code == code
    assert result.output.startswith(f"cluster:      {words} (")
    assert "  etcd: pid 12\n" in result.output
    assert ("  kubelet: gone\n" in result.output) is not healthy
    assert (f"kubeconfig:   {tmp_path / 'state' / 'kubeconfig'}\n" in result.output) is healthy


def test_a_kubeconfig_without_a_cluster_is_refused_with_the_command(tmp_path: Path) -> None:
    result = CliRunner().invoke(cluster_command, ["kubeconfig", "--state", str(tmp_path)])
    assert isinstance(result.exception, SingleNodeError)
    assert "make cluster" in str(result.exception)


def test_the_image_of_the_keeper_is_made_of_this_checkout_and_its_name_is_printed(tmp_path: Path) -> None:
    base = tmp_path / "keeper" / keeper._base_name(ROOT)
    base.parent.mkdir()
    for folder in ("root/opt", "root/usr/local/bin"):
        (tmp_path / folder).mkdir(parents=True)
    with tarfile.open(base, "w") as archive:
        archive.add(tmp_path / "root", ".")
    result = CliRunner().invoke(cluster_command, ["keeper-image"])
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{keeper.image_of(ROOT).tag}\n"
    assert (images.images_dir() / keeper.FILE).exists()
