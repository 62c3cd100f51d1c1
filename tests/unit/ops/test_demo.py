"""Where `make demo` goes: it asks nothing without a terminal, and says in one line what is missing."""

from __future__ import annotations

import io
import json
import os
import stat
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from components.errors import StackError
from components.kuberay import source
from components.settings import from_config
from ops import demo, demo_cluster, engine
from ops.demo_cluster import Cluster
from ops.errors import OpsError, Refused, Unavailable
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
    monkeypatch.setattr(single_node, "running_state", lambda: None)
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
    assert demo_cluster.choose_cluster() == Cluster(str(tmp_path / "kubeconfig"), "test")


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
    demo_cluster.start(found, "v1.7.0")
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
    [
        (["v1.4.0", "v1.5.0"], "v1.5.0"),
        (["v1.5.0", "v1.6.2", "v1.7.0"], "v1.7.0"),
        (["v1.5.0", "v1.6.2"], "v1.6.2"),
        (["v1.4.0"], "v1.4.0"),
        ([], "v1.5.0"),
    ],
)
def test_on_the_single_node_kuberay_is_one_whose_image_is_there_else_one_that_can_be_built(
    cached: list[str], version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operator, "is_built", lambda name: name in cached)
    assert demo_cluster.kuberay_versions(Cluster("/k", "native", "single node"))[0] == version
    assert demo_cluster.kuberay_versions(Cluster(None, "theirs")) == ["v1.7.0"]


def test_without_the_manifests_of_the_best_version_the_next_one_is_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(operator, "is_built", lambda name: name in ("v1.4.0", "v1.7.0"))
    versions = demo_cluster.kuberay_versions(Cluster("/k", "native", "single node"))
    assert versions == ["v1.7.0", "v1.4.0", "v1.5.0"]

    def resolve(version: str, _named: str) -> None:
        if version != "v1.5.0":
            raise StackError(f"KubeRay {version} could not be fetched.")

    monkeypatch.setattr(source, "resolve", resolve)
    assert demo.find_manifests(versions) == ("v1.5.0", "upstream")
    assert "v1.5.0 is used: there are no manifests of v1.7.0. KubeRay v1.7.0 could not be" in capsys.readouterr().err
    with pytest.raises(Unavailable, match=r"manifests: KubeRay v1\.7\.0 could not be fetched.*KUBERAY_SOURCE"):
        demo.find_manifests(["v1.7.0"])


def test_the_stack_file_says_what_an_older_kuberay_lacks_and_is_accepted() -> None:
    for version, mode in (("v1.5.0", "disabled"), ("v1.7.0", "token")):
        config = yaml.safe_load(demo.stack_content("native", version, "upstream"))["config"]
        settings = from_config(config)
        assert (settings.kuberay.version, settings.clusters[0].auth.mode) == (version, mode)


def test_the_end_names_place_versions_and_what_was_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "version", lambda: "v3.274.1")
    monkeypatch.setattr(engine, "provider_version", lambda: "4.25.0")
    lines = demo.summary(Cluster("/k", "native", "single node"), "v1.5.0", 0)
    assert len(lines) == 3
    assert "the job succeeded" in lines[0]
    assert "native (single node)" in lines[0]
    assert "Pulumi v3.274.1, Kubernetes provider 4.25.0, KubeRay v1.5.0, Ray 2.60.0" in lines[1]
    assert lines[2] == "off, of the defaults: token authentication (KubeRay v1.5.0 has none)"
    assert demo.summary(Cluster(None, "theirs"), "v1.7.0", 1)[2] == "off, of the defaults: nothing"


def test_before_slow_parts_are_built_a_job_runs_on_a_local_ray_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    order: list[str] = []
    monkeypatch.setattr(requirements, "problems", list)
    monkeypatch.setattr(single_node, "running_state", lambda: None)
    monkeypatch.setattr(demo_cluster, "slow_parts", lambda *_: ["Kubernetes from Go modules (12 minutes)"])
    monkeypatch.setattr(demo_cluster, "install_packages", lambda _cluster: order.append("packages"))
    monkeypatch.setattr(demo, "find_manifests", lambda versions: order.append("manifests") or (versions[0], "upstream"))
    monkeypatch.setattr(demo, "submit_locally", lambda: order.append("local job") or 0)
    monkeypatch.setattr(demo, "ensure_engine", lambda before_build: (before_build(), order.append("engine")))

    def fail(*_: object) -> None:
        raise Unavailable("a module is refused")

    monkeypatch.setattr(demo_cluster, "start", fail)
    assert demo.run() == 0
    assert order == ["local job", "packages", "manifests", "engine"]
    said = capsys.readouterr().err
    assert f"once, and cached in {tmp_path}/cache: Kubernetes from Go modules (12 minutes)" in said
    assert "left out: the deployment. a module is refused" in said
    assert "the job succeeded on a local Ray; nothing was deployed" in said


def test_the_demos_state_is_its_own_and_touches_no_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = demo.environment(Cluster("/k", "kind-x", "kind", throw_away=True))
    assert settings["PULUMI_BACKEND_URL"] == f"file://{tmp_path}/demo/state"
    assert settings["KUBECONFIG"] == "/k"
    assert "KUBECONFIG" not in demo.environment(Cluster(None, "test"))


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


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A single node that can run and runs; returns its state directory."""
    monkeypatch.setattr(requirements, "problems", list)
    state = single_node.default_state()
    state.mkdir(parents=True)
    (state / "kubeconfig").write_bytes(kubeconfig(tmp_path, "http://127.0.0.1:1", context="native").read_bytes())
    monkeypatch.setattr(single_node, "running_state", lambda: state)
    return state


def deployed(cluster: Cluster) -> Cluster:
    """The cluster as the record has it after a deployment of KubeRay v1.5.0."""
    cluster = replace(cluster, identity=demo_cluster.kubeconfig_digest(cluster))
    cluster.save()
    demo_cluster.stack_file().write_text(demo.stack_content(cluster.context, "v1.5.0", "upstream"))
    (demo_cluster.DEMO / "state").mkdir()
    return cluster


def on_node(state: Path) -> Cluster:
    return Cluster(str(state / "kubeconfig"), "native", "single node", throw_away=True)


def test_a_second_demo_uses_the_node_of_the_first_and_still_stops_it(
    node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = deployed(on_node(node))
    assert demo_cluster.choose_cluster() == first
    stopped: list[Path] = []
    monkeypatch.setattr(single_node, "down", stopped.append)
    assert demo_cluster.stop(first) == 0
    assert stopped == [node]


def test_a_node_that_somebody_started_after_the_demos_had_ended_is_not_stopped(
    node: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    deployed(on_node(node))
    (node / "kubeconfig").write_text("of another start")
    assert not demo_cluster.choose_cluster().throw_away
    monkeypatch.setattr(single_node, "down", lambda _state: pytest.fail("it was stopped"))
    assert demo.remove() == 0
    said = capsys.readouterr().err
    assert "its cluster is gone with all that was there" in said
    assert "the demo is removed" in said
    assert not demo_cluster.DEMO.exists()


def test_a_node_that_was_stopped_is_removed_without_an_engine(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deployed(on_node(node))
    monkeypatch.setattr(single_node, "running_state", lambda: None)
    stopped: list[Path] = []
    monkeypatch.setattr(single_node, "down", stopped.append)
    assert demo.remove() == 0
    assert stopped == [node]


def test_the_state_of_a_deployment_ends_with_its_node(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deployed(on_node(node))
    monkeypatch.setattr(demo, "ensure_engine", lambda _: None)
    monkeypatch.setattr(demo, "find_manifests", lambda versions: (versions[0], "upstream"))
    monkeypatch.setattr(demo_cluster, "start", lambda *_: None)
    monkeypatch.setattr(demo_cluster, "slow_parts", lambda *_: [])
    monkeypatch.setattr(demo_cluster, "install_packages", lambda _cluster: None)
    monkeypatch.setattr(operator, "is_built", lambda version: version in ("v1.5.0", "v1.7.0"))
    version, _, cluster = demo.prepare(demo_cluster.choose_cluster(), lambda: None)
    assert version == "v1.5.0"  # a deployment keeps its version
    assert demo_cluster.stack_file().is_file()
    (node / "kubeconfig").write_text("of another start")
    version, _, cluster = demo.prepare(demo_cluster.choose_cluster(), lambda: None)
    assert version == "v1.7.0"
    assert not demo_cluster.stack_file().exists()
    assert not (demo_cluster.DEMO / "state").exists()
    assert demo_cluster.saved() == cluster
    assert demo_cluster.exists(cluster)


def test_a_node_that_restarts_because_it_was_unhealthy_has_no_deployment(
    node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployed(on_node(node))
    monkeypatch.setattr(demo, "ensure_engine", lambda _: None)
    monkeypatch.setattr(demo, "find_manifests", lambda versions: (versions[0], "upstream"))
    monkeypatch.setattr(demo_cluster, "start", lambda *_: (node / "kubeconfig").write_text("of another start"))
    monkeypatch.setattr(demo_cluster, "slow_parts", lambda *_: [])
    monkeypatch.setattr(demo_cluster, "install_packages", lambda _cluster: None)
    demo.prepare(demo_cluster.choose_cluster(), lambda: None)
    assert not demo_cluster.stack_file().exists()


def test_a_node_that_never_started_leaves_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "problems", list)
    monkeypatch.setattr(demo, "submit_locally", lambda: 0)

    def fail(_versions: list[str]) -> tuple[str, str]:
        raise Unavailable("no manifests")

    monkeypatch.setattr(demo_cluster, "slow_parts", lambda *_: [])
    monkeypatch.setattr(demo_cluster, "install_packages", lambda _cluster: None)
    monkeypatch.setattr(demo, "find_manifests", fail)
    assert demo.run() == 0
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize("place", ["KUBECONFIG", "usual place"])
def test_the_single_node_is_known_by_its_kubeconfig_wherever_that_lies(
    place: str, node: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if place == "KUBECONFIG":
        monkeypatch.setenv("KUBECONFIG", str(node / "kubeconfig"))
    else:
        (tmp_path / ".kube").mkdir()
        (tmp_path / ".kube" / "config").write_bytes((node / "kubeconfig").read_bytes())
        monkeypatch.setenv("CONTEXT", "native")
    assert demo_cluster.choose_cluster() == replace(on_node(node), throw_away=False)


def test_a_deployment_is_not_left_behind_for_another_cluster(
    node: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployed(on_node(node))
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, "http://127.0.0.1:1")))
    with pytest.raises(Refused, match=r"deployed to the context native.*make demo-destroy"):
        demo_cluster.choose_cluster()


def test_the_users_cluster_of_the_first_demo_is_used_again_without_a_question(tmp_path: Path) -> None:
    first = deployed(Cluster(str(kubeconfig(tmp_path, "http://127.0.0.1:1")), "test"))
    assert demo_cluster.choose_cluster() == first


def terminal(answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal at which a person types `answer`."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(answer))


@pytest.mark.parametrize(("answer", "yes"), [("y\n", True), ("n\n", False), ("\n", False), ("", False)])
def test_a_question_is_on_stderr_and_only_a_yes_agrees(
    answer: str, yes: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal(answer, monkeypatch)
    assert demo_cluster.confirmed("Build them?") is yes
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "Build them? [y/N] ")


def test_a_no_at_the_terminal_builds_nothing_and_runs_the_local_job(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal("n\n", monkeypatch)
    monkeypatch.setattr(requirements, "problems", list)
    monkeypatch.setattr(demo_cluster, "slow_parts", lambda *_: ["Kubernetes"])
    monkeypatch.setattr(demo_cluster, "start", lambda *_: pytest.fail("it was built"))
    monkeypatch.setattr(demo, "submit_locally", lambda: 0)
    assert demo.run() == 0
    assert "nothing is built; set KUBECONFIG or CONTEXT" in capsys.readouterr().err


def test_only_the_lock_of_a_cli_that_was_killed_is_a_dead_one() -> None:
    locks = demo.DEMO / "state" / ".pulumi" / "locks" / "organization"
    locks.mkdir(parents=True)
    assert not demo.has_dead_lock()
    (locks / "a.json").write_text(json.dumps({"pid": os.getpid()}))
    assert not demo.has_dead_lock()
    (locks / "b.json").write_text(json.dumps({"pid": 2**22 + 1}))  # above the kernel's largest
    assert demo.has_dead_lock()


def test_a_failed_up_says_how_to_continue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = deployed(Cluster(str(kubeconfig(tmp_path, "http://127.0.0.1:1")), "test"))
    monkeypatch.setattr(engine, "stacks", lambda **_: [{"name": "dev"}])
    monkeypatch.setattr(engine, "run", lambda *_, **__: 255)
    with pytest.raises(OpsError, match=r"`make demo` continues from here, `make demo-destroy` removes"):
        demo.deploy(cluster, "v1.7.0", "upstream")


def test_a_stack_whose_first_up_failed_does_not_keep_the_cluster(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deployed(on_node(node))
    monkeypatch.setattr(engine, "stacks", lambda **_: [{"name": "dev"}])
    monkeypatch.setattr(engine, "stack_state", lambda *_, **__: [])
    stopped: list[Path] = []
    monkeypatch.setattr(single_node, "down", stopped.append)
    assert demo.remove() == 0
    assert stopped == [node]
