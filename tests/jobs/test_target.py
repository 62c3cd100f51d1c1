"""Where a job goes: the order of the sources, and what is refused. No Ray and no cluster is needed."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from jobs.connection import agent_is_safe
from jobs.errors import LocalFault, Refused
from jobs.kubernetes.api import Kube, check_kubeconfig
from jobs.target.options import TargetOptions
from jobs.target.resolve import ClusterTarget, UrlTarget, resolve
from tests.jobs.conftest import Cli
from tests.unit.components.api_server import UID, api_server


def contract(stack: str = "dev", clusters: int = 1, **changes: Any) -> dict[str, Any]:
    entries = [
        {
            "name": f"ray-{i}",
            "namespace": "ray-cluster",
            "headService": f"ray-{i}-head-svc",
            "dashboardPort": 8265,
            "rayVersion": "2.60.0",
            "externalUrl": None,
            "authSecret": {"name": f"ray-{i}", "key": "auth_token"},
        }
        for i in range(clusters)
    ]
    whole = {
        "schemaVersion": 1,
        "project": "ray-on-kubernetes",
        "stack": stack,
        "kubeconfig": None,
        "kubeContext": "kind-ray",
        "clusterUid": "uid",
        "operator": {"namespace": "ray-system", "version": "v1.7.0"},
        "clusters": entries,
    }
    return {**whole, **changes}


def write(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


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


def cluster_of(options: TargetOptions, environ: dict[str, str], cwd: Path) -> ClusterTarget:
    target = resolve(options, environ={"PATH": "/nonexistent", **environ}, cwd=cwd)
    assert isinstance(target, ClusterTarget)
    return target


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


def test_a_stack_that_pulumi_does_not_know_is_refused_in_its_words(tmp_path: Path) -> None:
    environ = project(tmp_path, {"dev": contract()})
    with pytest.raises(Refused, match="no stack named 'prod'"):
        cluster_of(TargetOptions(stack="prod"), environ, tmp_path)


def test_without_the_pulumi_cli_it_says_what_else_would_do(tmp_path: Path) -> None:
    write(tmp_path / "Pulumi.yaml", "name: ray-on-kubernetes\n")
    with pytest.raises(LocalFault, match="--outputs"):
        cluster_of(TargetOptions(stack="dev"), {"XDG_CONFIG_HOME": str(tmp_path)}, tmp_path)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (contract(schemaVersion=2), "schemaVersion 2"),
        ("{", "not JSON"),
        ("[]", "no schemaVersion"),
        (contract(clusters=0), "no Ray cluster"),
        ({**contract(), "clusters": [{"name": "x"}]}, r"clusters\[0\].namespace is missing"),
        ({**contract(), "clusters": [{**contract()["clusters"][0], "dashboardPort": "x"}]}, "dashboardPort"),
        ({**contract(), "clusters": [{**contract()["clusters"][0], "authSecret": {"name": "x"}}]}, "authSecret"),
    ],
)
def test_an_outputs_file_that_cannot_be_used_says_what_is_wrong(tmp_path: Path, content: Any, named: str) -> None:
    path = write(tmp_path / "outputs.json", content)
    with pytest.raises(Refused, match=named) as caught:
        cluster_of(TargetOptions(outputs=str(path)), {}, tmp_path)
    assert str(path) in str(caught.value)


def test_unknown_fields_of_the_contract_are_ignored(tmp_path: Path) -> None:
    path = write(tmp_path / "outputs.json", contract(somethingNew={"a": 1}))
    assert cluster_of(TargetOptions(outputs=str(path)), {}, tmp_path).cluster.name == "ray-0"


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


KUBECONFIG = {
    "current-context": "one",
    "contexts": [{"name": "one", "context": {"cluster": "c", "user": "u"}}, {"name": "two", "context": {}}],
}


@pytest.mark.parametrize(
    ("content", "context", "named"),
    [
        (None, None, "no kubeconfig at"),
        ("a: [", None, "not YAML at line"),
        ("- 1", None, "not a kubeconfig"),
        (KUBECONFIG, "three", "no context 'three'"),
        ({**KUBECONFIG, "current-context": ""}, None, "no current context"),
    ],
)
def test_a_kubeconfig_that_cannot_be_used_says_why(
    tmp_path: Path, content: Any, context: str | None, named: str
) -> None:
    path = tmp_path / "kubeconfig"
    if content is not None:
        write(path, content)
    with pytest.raises(Refused, match=named):
        check_kubeconfig(str(path), context, {})


def test_the_command_refuses_a_bad_kubeconfig_before_anything(bare_cli: Cli, tmp_path: Path) -> None:
    outputs = write(tmp_path / "outputs.json", contract(kubeconfig=str(tmp_path / "missing")))
    done = bare_cli.raw("submit", "--outputs", str(outputs), "--", "true")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"There is no kubeconfig at" in done.stderr


def test_several_kubeconfig_files_are_read_as_one(tmp_path: Path) -> None:
    first = write(tmp_path / "a", {"contexts": [{"name": "a", "context": {}}]})
    second = write(tmp_path / "b", KUBECONFIG)
    paths, context = check_kubeconfig(None, "two", {"KUBECONFIG": f"{first}:{second}:{tmp_path}/none"})
    assert (paths, context) == (f"{first}:{second}", "two")


def test_a_context_that_is_named_needs_no_current_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def uid(kubeconfig: str | None) -> str:
        kube = await Kube.open(kubeconfig, "test")
        return await kube.cluster_uid()

    with api_server(tmp_path) as config:
        config.write_text(config.read_text().replace("current-context: test\n", ""))
        assert asyncio.run(uid(str(config))) == UID
        (tmp_path / "bare").write_text("apiVersion: v1\nkind: Config\n")
        monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'bare'}:{config}")
        assert asyncio.run(uid(None)) == UID


@pytest.mark.parametrize(
    ("url", "agent", "safe"),
    [
        ("http://127.0.0.1:8265", "http://127.0.0.1:52365", True),
        # A tunnel by somebody else: the pod's address may be another machine's in this network.
        ("http://127.0.0.1:8265", "http://203.0.113.9:52365", False),
        ("https://ray.example.com", "http://10.0.0.1:52365", False),
        ("http://ray.example.com:8265", "http://10.0.0.1:52365", False),
    ],
)
def test_the_token_goes_to_an_agent_only_where_that_is_safe(
    url: str, agent: str, safe: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert agent_is_safe(url, agent) is safe


def test_headers_of_the_environment_are_used_and_never_shown(tmp_path: Path) -> None:
    environ = {"RAY_JOB_HEADERS": '{"Authorization": "Basic c2VjcmV0"}'}
    target = resolve(TargetOptions(address="https://ray.example.com"), environ=environ, cwd=tmp_path)
    assert target.headers == {"Authorization": "Basic c2VjcmV0"}
    with pytest.raises(Refused) as caught:
        resolve(TargetOptions(address="http://localhost"), environ={"RAY_JOB_HEADERS": "c2VjcmV0"}, cwd=tmp_path)
    assert "c2VjcmV0" not in str(caught.value)
