"""Where `make demo` goes: it asks nothing without a terminal, and says in one line what is missing."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import yaml

from components.settings import from_config
from ops import demo, demo_cluster, engine
from ops.errors import Unavailable
from single_node import cluster as single_node
from single_node import operator, requirements
from tests.support.api_server import kubeconfig


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No kubeconfig, no context, nothing on PATH, no terminal; returns the folder that PATH names."""
    for name in ("KUBECONFIG", "CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_E2E_CACHE", str(tmp_path / "cache"))
    for module in (demo, demo_cluster):
        monkeypatch.setattr(module, "DEMO", tmp_path / "demo")
    monkeypatch.setattr(requirements, "problems", lambda: ["it needs root (sudo make ...)"])
    return programs


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def current(tmp_path: Path) -> None:
    """A kubeconfig at its usual place, whose current context is `test`."""
    (tmp_path / ".kube").mkdir()
    kubeconfig(tmp_path, "http://127.0.0.1:1").rename(tmp_path / ".kube" / "config")


def test_a_kubeconfig_that_is_named_is_used_with_its_current_context(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, "http://127.0.0.1:1")))
    assert demo_cluster.choose_cluster() == demo_cluster.Cluster(None, "test")


def test_a_context_that_is_named_wins_over_the_current_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, "http://127.0.0.1:1")))
    monkeypatch.setenv("CONTEXT", "staging")
    assert demo_cluster.choose_cluster().context == "staging"


def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nowhere"))
    with pytest.raises(Unavailable, match="nowhere: no such file"):
        demo_cluster.choose_cluster()


def test_without_a_terminal_the_current_context_is_never_taken_but_named(tmp_path: Path) -> None:
    current(tmp_path)
    with pytest.raises(Unavailable, match="to use the current context test: CONTEXT=test"):
        demo_cluster.choose_cluster()


def test_without_any_way_to_a_cluster_each_is_named_with_its_reason() -> None:
    with pytest.raises(Unavailable) as missing:
        demo_cluster.choose_cluster()
    for words in ("set KUBECONFIG or CONTEXT", "kind is not installed", "cannot run here: it needs root"):
        assert words in str(missing.value)


def test_kind_without_a_docker_engine_that_answers_is_not_enough(bare_machine: Path) -> None:
    program(bare_machine, "kind", "exit 0")
    with pytest.raises(Unavailable, match="kind is installed but no Docker engine answers"):
        demo_cluster.choose_cluster()
    program(bare_machine, "docker", "exit 1")
    with pytest.raises(Unavailable, match="no Docker engine answers"):
        demo_cluster.choose_cluster()


def test_with_kind_and_docker_a_throw_away_cluster_is_made(bare_machine: Path, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    program(bare_machine, "docker", "exit 0")
    program(bare_machine, "kind", f'echo "$@" >> {asked}')
    found = demo_cluster.choose_cluster()
    assert (found.kind, found.context, found.throw_away) == ("kind", f"kind-{demo_cluster.KIND_CLUSTER}", True)
    assert not asked.exists()
    demo_cluster.start(found)
    assert f"create cluster --name {demo_cluster.KIND_CLUSTER}" in asked.read_text()
    assert demo_cluster.stop(found) == 0
    assert f"delete cluster --name {demo_cluster.KIND_CLUSTER}" in asked.read_text()


@pytest.mark.parametrize("runs", [True, False], ids=["it runs already", "it does not run"])
def test_without_docker_the_single_node_is_used_and_removed_only_if_the_demo_started_it(
    runs: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requirements, "problems", list)
    monkeypatch.setattr(single_node, "running_state", lambda: tmp_path / "state" if runs else None)
    found = demo_cluster.choose_cluster()
    assert (found.kind, found.throw_away) == ("single node", not runs)
    stopped: list[Path] = []
    monkeypatch.setattr(single_node, "down", stopped.append)
    assert demo_cluster.stop(found) == 0
    assert len(stopped) == (0 if runs else 1)


@pytest.mark.parametrize(
    ("cached", "version"),
    [(["v1.4.0", "v1.5.0"], "v1.5.0"), (["v1.5.0", "v1.6.2", "v1.7.0"], "v1.7.0"), (["v1.5.0", "v1.6.2"], "v1.6.2")],
)
def test_on_the_single_node_kuberay_is_one_whose_image_is_there(
    cached: list[str], version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operator, "is_built", lambda name: name in cached)
    assert demo_cluster.kuberay_version(demo_cluster.Cluster("/k", "native", "single node")) == version
    assert demo_cluster.kuberay_version(demo_cluster.Cluster(None, "theirs")) == "v1.7.0"


def test_the_stack_file_says_what_an_older_kuberay_lacks_and_is_accepted() -> None:
    for version, mode in (("v1.5.0", "disabled"), ("v1.7.0", "token")):
        config = yaml.safe_load(demo.stack_file("native", version, "upstream"))["config"]
        settings = from_config(config)
        assert (settings.kuberay.version, settings.clusters[0].auth.mode) == (version, mode)


def test_the_end_names_place_versions_and_what_was_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "version", lambda: "v3.274.1")
    monkeypatch.setattr(engine, "provider_version", lambda: "4.25.0")
    lines = demo.summary(demo_cluster.Cluster("/k", "native", "single node"), "v1.5.0", 0)
    assert len(lines) == 3
    assert "the job succeeded" in lines[0]
    assert "native (single node)" in lines[0]
    assert "Pulumi v3.274.1, Kubernetes provider 4.25.0, KubeRay v1.5.0, Ray 2.60.0" in lines[1]
    assert lines[2] == "off, of the defaults: token authentication (KubeRay v1.5.0 has none)"
    assert demo.summary(demo_cluster.Cluster(None, "theirs"), "v1.7.0", 1)[2] == "off, of the defaults: nothing"


def test_before_slow_parts_are_built_a_job_runs_on_a_local_ray_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    order: list[str] = []
    monkeypatch.setattr(requirements, "problems", list)
    monkeypatch.setattr(single_node, "running_state", lambda: None)
    monkeypatch.setattr(demo_cluster, "slow_parts", lambda _cluster: ["Kubernetes from Go modules (12 minutes)"])
    monkeypatch.setattr(demo, "submit_locally", lambda: order.append("local job") or 0)
    monkeypatch.setattr(demo, "ensure_engine", lambda before_build: (before_build(), order.append("engine")))

    def fail(_cluster: demo_cluster.Cluster) -> None:
        raise Unavailable("a module is refused")

    monkeypatch.setattr(demo_cluster, "start", fail)
    assert demo.run() == 0
    assert order == ["local job", "engine"]
    said = capsys.readouterr().err
    assert "built first, once, and cached: Kubernetes from Go modules (12 minutes)" in said
    assert "left out: the deployment. a module is refused" in said
    assert "the job succeeded on a local Ray; nothing was deployed" in said


def test_the_demos_state_is_its_own_and_touches_no_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = demo.environment(demo_cluster.Cluster("/k", "kind-x", "kind", throw_away=True))
    assert settings["PULUMI_BACKEND_URL"] == f"file://{tmp_path}/demo/state"
    assert settings["KUBECONFIG"] == "/k"
    assert "KUBECONFIG" not in demo.environment(demo_cluster.Cluster(None, "test"))


def test_nothing_deployed_is_nothing_to_take_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo.remove() == 0
    assert "the demo has deployed nothing" in capsys.readouterr().err


SECRET = "S3CRET-of-the-kubeconfig"


@pytest.mark.parametrize(
    "content",
    [
        f"users:\n- name: me\n  user: {{token: {SECRET}\n",
        f"token: {SECRET}\n\tclient-key-data: {SECRET}\n",
        f"token: !!python/object/apply:os.system [{SECRET}]\n",
        f"a: *{SECRET}\n",
        f"- {SECRET}\n",
        f"{SECRET}\x00\n",
    ],
    ids=["not closed", "tab", "tag", "alias", "no mapping", "control character"],
)
@pytest.mark.parametrize("named", [True, False], ids=["KUBECONFIG", "usual place"])
def test_a_broken_kubeconfig_is_one_error_that_does_not_repeat_it(
    content: str, named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / ".kube" / "config"
    file.parent.mkdir()
    file.write_text(content)
    if named:
        monkeypatch.setenv("KUBECONFIG", str(file))
    monkeypatch.setattr(demo, "submit_locally", lambda: 0)
    assert demo.run() == 0
    shown = "".join(capsys.readouterr())
    assert str(file) in shown
    assert SECRET not in shown
    assert "Traceback" not in shown


def test_a_kubeconfig_that_is_not_text_is_one_error_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config"
    file.write_bytes(b"\xff\xfe\x80")
    monkeypatch.setenv("KUBECONFIG", str(file))
    with pytest.raises(Unavailable, match="cannot be read"):
        demo_cluster.current_context()
