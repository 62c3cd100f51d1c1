"""Where a job goes: the order of the sources, and what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import LocalFault, Refused
from jobs.target.options import TargetOptions
from jobs.target.resolve import UrlTarget, resolve
from tests.support.command import Cli
from tests.support.outputs import cluster_of, contract, write


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def project(directory: Path, stacks: dict[str, dict[str, Any]]) -> dict[str, str]:
    """A Pulumi project with a stand-in for the CLI, which knows the stacks' outputs; the selected one is the first."""
    write(directory / "Pulumi.yaml", "name: ray-on-kubernetes\nruntime: python\n")
    for name, outputs in stacks.items():
        write(directory / "stacks" / name, outputs)
    selected = next(iter(stacks))
    script = f"""#!/bin/sh
echo "$@" >> {directory}/calls
stack={selected}
while [ $# -gt 0 ]; do [ "$1" = --stack ] && stack=$2; shift; done
cat {directory}/stacks/$stack 2>/dev/null || {{ echo "error: no stack named '$stack' found" >&2; exit 255; }}
"""
    program = write(directory / "bin" / "pulumi", script)
    program.chmod(0o755)
    return {"PATH": f"{program.parent}:{os.environ['PATH']}"}


def test_the_order_is_outputs_environment_stack_default_file(home: Path, tmp_path: Path) -> None:
    environ = {"XDG_CONFIG_HOME": str(home)}
    write(home / "rayjobs" / "outputs.json", contract("default-file"))
    assert cluster_of(TargetOptions(), environ, tmp_path).contract.stack == "default-file"
    here = tmp_path / "project" / "deep" / "down"
    here.mkdir(parents=True)
    environ |= project(tmp_path / "project", {"selected": contract("selected"), "other": contract("other")})
    assert cluster_of(TargetOptions(), environ, here).contract.stack == "selected"
    assert cluster_of(TargetOptions(stack="other"), environ, here).contract.stack == "other"
    environ["RAYJOBS_OUTPUTS"] = str(write(tmp_path / "environment.json", contract("environment")))
    assert cluster_of(TargetOptions(), environ, here).contract.stack == "environment"
    assert cluster_of(TargetOptions(stack="other"), environ, here).contract.stack == "other"
    named = write(tmp_path / "named.json", contract("named"))
    assert cluster_of(TargetOptions(outputs=str(named)), environ, here).contract.stack == "named"
    assert isinstance(resolve(TargetOptions(address="http://127.0.0.1:1"), environ=environ, cwd=here), UrlTarget)


def test_the_selected_stack_is_never_changed(tmp_path: Path) -> None:
    environ = project(tmp_path, {"selected": contract(), "other": contract("other")})
    cluster_of(TargetOptions(stack="other"), environ, tmp_path)
    calls = (tmp_path / "calls").read_text()
    assert calls == "stack output contract --json --non-interactive --stack other\n"


def test_another_pulumi_project_is_not_ours(tmp_path: Path) -> None:
    write(tmp_path / "Pulumi.yaml", "name: something-else\n")
    with pytest.raises(Refused, match="No target"):
        resolve(TargetOptions(), environ={"XDG_CONFIG_HOME": str(tmp_path)}, cwd=tmp_path)


def with_pulumi_in_project(directory: Path) -> Path:
    """A project whose own folder has the Pulumi CLI. Returns the file that the CLI writes."""
    ran = directory / "ran"
    write(directory / "Pulumi.yaml", "name: ray-on-kubernetes\n")
    write(directory / ".pulumi" / "bin" / "pulumi", f"#!/bin/sh\n: > {ran}\nexit 1\n").chmod(0o755)
    return ran


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
@pytest.mark.parametrize("given", [".", "Pulumi.yaml", ".pulumi", ".pulumi/bin", ".pulumi/bin/pulumi"])
def test_nothing_is_run_from_a_directory_of_another_user(tmp_path: Path, given: str) -> None:
    ran = with_pulumi_in_project(tmp_path / "shared")
    here = tmp_path / "shared" / "deep"
    here.mkdir()
    with pytest.raises(Refused, match="failed"):
        cluster_of(TargetOptions(), {}, here)
    assert ran.exists()
    ran.unlink()
    os.chown(tmp_path / "shared" / given, 65534, 65534)
    with pytest.raises(Refused, match="belongs to another user"):
        cluster_of(TargetOptions(), {}, here)
    assert not ran.exists()


def test_the_user_who_called_sudo_owns_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to another user")
    environ = project(tmp_path, {"dev": contract()})
    for place in (tmp_path, tmp_path / "Pulumi.yaml"):
        os.chown(place, 65534, 65534)
    monkeypatch.setenv("SUDO_UID", "65534")
    assert cluster_of(TargetOptions(), environ, tmp_path).contract.stack == "dev"


def test_a_pipe_is_no_project_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "Pulumi.yaml")
    with pytest.raises(Refused, match="No target"):
        resolve(TargetOptions(), environ={"XDG_CONFIG_HOME": str(tmp_path)}, cwd=tmp_path)


def test_a_stack_that_pulumi_does_not_know_is_refused_in_its_words(tmp_path: Path) -> None:
    environ = project(tmp_path, {"dev": contract()})
    with pytest.raises(Refused, match="no stack named 'prod'"):
        cluster_of(TargetOptions(stack="prod"), environ, tmp_path)


def test_without_the_pulumi_cli_it_says_what_else_would_do(tmp_path: Path) -> None:
    write(tmp_path / "Pulumi.yaml", "name: ray-on-kubernetes\n")
    with pytest.raises(LocalFault, match="--outputs"):
        cluster_of(TargetOptions(stack="dev"), {"XDG_CONFIG_HOME": str(tmp_path)}, tmp_path)


def test_missing_outputs_name_the_file_and_the_command_that_writes_it(bare_cli: Cli) -> None:
    for words, environ in ((["--outputs", "none.json"], {}), ([], {"RAYJOBS_OUTPUTS": "none.json"})):
        done = bare_cli.raw("list", *words, **environ)
        assert done.returncode == 2
        assert b"none.json" in done.stderr
        assert b"make outputs" in done.stderr


def test_one_of_several_clusters_has_to_be_chosen(tmp_path: Path) -> None:
    path = str(write(tmp_path / "outputs.json", contract(clusters=2)))
    with pytest.raises(Refused, match="ray-0, ray-1"):
        cluster_of(TargetOptions(outputs=path), {}, tmp_path)
    assert cluster_of(TargetOptions(outputs=path, cluster="ray-1"), {}, tmp_path).cluster.name == "ray-1"
    with pytest.raises(Refused, match="no cluster 'ray-2'"):
        cluster_of(TargetOptions(outputs=path, cluster="ray-2"), {}, tmp_path)


def test_context_and_kubeconfig_of_the_flags_go_before_those_of_the_stack(tmp_path: Path) -> None:
    path = str(write(tmp_path / "outputs.json", contract(kubeconfig="/from/the/stack")))
    target = cluster_of(TargetOptions(outputs=path), {}, tmp_path)
    assert (target.kubeconfig, target.context) == ("/from/the/stack", "kind-ray")
    target = cluster_of(TargetOptions(outputs=path, context="mine", kubeconfig="/mine"), {}, tmp_path)
    assert (target.kubeconfig, target.context) == ("/mine", "mine")


@pytest.mark.parametrize(
    "options",
    [
        TargetOptions(local=True, address="http://127.0.0.1:1"),
        TargetOptions(outputs="a", stack="b"),
        TargetOptions(address="http://127.0.0.1:1", cluster="a"),
        TargetOptions(address="http://127.0.0.1:1", context="a"),
        TargetOptions(local=True, kubeconfig="a"),
        TargetOptions(token_file="a"),
    ],
)
def test_flags_that_contradict_each_other_are_refused(tmp_path: Path, options: TargetOptions) -> None:
    with pytest.raises(Refused):
        resolve(options, environ={}, cwd=tmp_path)


def test_an_authorization_for_a_proxy_is_not_sent_through_the_tunnel_of_a_stack(tmp_path: Path) -> None:
    """Ray would read it before the token of its second header, and refuse it."""
    outputs = write(tmp_path / "outputs.json", contract())
    environ = {"RAY_JOB_HEADERS": '{"authorization": "Basic c2VjcmV0", "X-Team": "a"}'}
    target = resolve(TargetOptions(outputs=str(outputs)), environ=environ, cwd=tmp_path)
    assert target.headers == {"X-Team": "a"}


def test_headers_of_the_environment_are_used_and_never_shown(tmp_path: Path) -> None:
    environ = {"RAY_JOB_HEADERS": '{"Authorization": "Basic c2VjcmV0"}'}
    target = resolve(TargetOptions(address="https://ray.example.com"), environ=environ, cwd=tmp_path)
    assert target.headers == {"Authorization": "Basic c2VjcmV0"}
    with pytest.raises(Refused) as caught:
        resolve(TargetOptions(address="http://localhost"), environ={"RAY_JOB_HEADERS": "c2VjcmV0"}, cwd=tmp_path)
    assert "c2VjcmV0" not in str(caught.value)


BAD_HEADERS = [
    {"Authorization": "Bearer hunter2\n"},
    {"Authorization": "Bearer hunter2\r\nX: y"},
    {"Authorization": " hunter2"},
    {"Authorization": "hunter2\u00e9"},
    {"hunter2: x": "y"},
    {"": "hunter2"},
]


@pytest.mark.parametrize("headers", BAD_HEADERS)
def test_a_header_that_cannot_be_sent_is_refused_at_once_and_not_repeated(
    tmp_path: Path, bare_cli: Cli, headers: dict[str, str]
) -> None:
    texts = []
    for options, environ in (
        (TargetOptions(address="http://localhost", headers=headers), {}),
        (TargetOptions(address="http://localhost"), {"RAY_JOB_HEADERS": json.dumps(headers)}),
    ):
        with pytest.raises(Refused, match="cannot be sent") as caught:
            resolve(options, environ=environ, cwd=tmp_path)
        texts.append(str(caught.value))
    done = bare_cli("list", "--headers", json.dumps(headers), timeout=10)
    assert done.returncode == 2
    assert "hunter2" not in done.stderr.decode() + "".join(texts)


def test_headers_that_can_be_sent_are_accepted(tmp_path: Path) -> None:
    headers = {"Authorization": "Basic c2VjcmV0==", "x-empty": "", "X_Y": "a b\tc;d"}
    target = resolve(TargetOptions(address="http://localhost", headers=headers), environ={}, cwd=tmp_path)
    assert target.headers == headers


@pytest.mark.parametrize(
    ("address", "notices"),
    [("http://ray.example.com", 1), ("https://ray.example.com", 0), ("http://127.0.0.1:8265", 0)],
)
def test_a_token_over_plain_http_is_reported(tmp_path: Path, address: str, notices: int) -> None:
    for options, environ in (
        (TargetOptions(address=address), {"RAY_AUTH_TOKEN": "hunter2"}),
        (TargetOptions(address=address, headers={"Authorization": "hunter2"}), {}),
    ):
        texts: list[str] = []
        resolve(options, environ=environ, cwd=tmp_path, notify=texts.append)
        assert len(texts) == notices
        assert all("unencrypted" in text and "hunter2" not in text for text in texts)
