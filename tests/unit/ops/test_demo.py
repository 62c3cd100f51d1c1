"""Where `make demo` goes: it asks nothing without a terminal, and says in one line what is missing."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from ops import demo
from ops.errors import Unavailable
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
    assert demo.choose_cluster() == demo.Cluster(None, "test")


def test_a_context_that_is_named_wins_over_the_current_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, "http://127.0.0.1:1")))
    monkeypatch.setenv("CONTEXT", "staging")
    assert demo.choose_cluster().context == "staging"


def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nowhere"))
    with pytest.raises(Unavailable, match="nowhere: no such file"):
        demo.choose_cluster()


def test_without_a_terminal_the_current_context_is_never_taken_but_named(tmp_path: Path) -> None:
    current(tmp_path)
    with pytest.raises(Unavailable, match="to use the current context test: CONTEXT=test"):
        demo.choose_cluster()


def test_without_kind_it_says_what_to_install_or_set() -> None:
    with pytest.raises(Unavailable, match="set KUBECONFIG or CONTEXT, or install kind and Docker"):
        demo.choose_cluster()


def test_kind_without_a_docker_engine_that_answers_is_not_enough(bare_machine: Path) -> None:
    program(bare_machine, "kind", "exit 0")
    with pytest.raises(Unavailable, match="kind is installed but no Docker engine answers"):
        demo.choose_cluster()
    program(bare_machine, "docker", "exit 1")
    with pytest.raises(Unavailable, match="no Docker engine answers"):
        demo.choose_cluster()


def test_with_kind_and_docker_a_throw_away_cluster_is_made(
    bare_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tmp_path / "asked"
    program(bare_machine, "docker", "exit 0")
    program(bare_machine, "kind", f'echo "$@" >> {asked}')
    monkeypatch.setattr(demo, "DEMO", tmp_path / "demo")
    found = demo.choose_cluster()
    assert found == demo.Cluster(str(tmp_path / "demo" / "kubeconfig"), f"kind-{demo.KIND_CLUSTER}", throw_away=True)
    assert f"create cluster --name {demo.KIND_CLUSTER}" in asked.read_text()


def test_the_demos_state_is_its_own_and_touches_no_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "DEMO", tmp_path / "demo")
    settings = demo.environment(demo.Cluster("/k", "kind-x", throw_away=True))
    assert settings["PULUMI_BACKEND_URL"] == f"file://{tmp_path}/demo/state"
    assert settings["KUBECONFIG"] == "/k"
    assert "KUBECONFIG" not in demo.environment(demo.Cluster(None, "test"))


def test_nothing_deployed_is_nothing_to_take_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "DEMO", tmp_path / "demo")
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
    monkeypatch.setattr(demo, "DEMO", tmp_path / "demo")
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
        demo.current_context()
