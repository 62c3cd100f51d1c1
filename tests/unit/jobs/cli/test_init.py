"""`init`: what becomes the default target, and what `rayjobs` says without one."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tests.support.api_server import UID, api_server
from tests.support.command import Cli
from tests.support.outputs import contract, write


def default_file(cli: Cli) -> Path:
    return Path(cli.environ["HOME"]) / ".config/rayjobs/outputs.json"


def test_a_file_becomes_the_default_target_and_is_checked(bare_cli: Cli, tmp_path: Path) -> None:
    write(bare_cli.cwd / "outputs.json", contract("dev", kubeContext="nowhere"))
    with api_server(tmp_path) as config:
        done = bare_cli.raw("init", "--outputs", "outputs.json", "--context", "test", KUBECONFIG=str(config))
        assert b"The default target is ray-cluster/ray-0 of the stack dev" in done.stdout
        # The stand-in is another cluster.
        assert b"failed  target" in done.stdout
        assert b"Fix this, then run `python -m jobs check`." in done.stdout
        assert done.returncode == 2
        again = bare_cli.raw("check", KUBECONFIG=str(config))
    assert again.stdout in done.stdout
    written = json.loads(default_file(bare_cli).read_text())
    assert written == contract("dev", kubeContext="test")
    assert stat.S_IMODE(default_file(bare_cli).stat().st_mode) == 0o600


def test_the_exit_code_is_that_of_check(bare_cli: Cli, tmp_path: Path) -> None:
    with api_server(tmp_path) as config:
        write(bare_cli.cwd / "outputs.json", contract(kubeContext="test", clusterUid=UID))
        assert bare_cli.raw("init", "--outputs", "outputs.json", KUBECONFIG=str(config)).returncode == 6


def test_of_several_clusters_one_can_become_the_default(bare_cli: Cli) -> None:
    write(bare_cli.cwd / "outputs.json", contract(clusters=2))
    both = bare_cli.raw("init", "--outputs", "outputs.json")
    assert both.returncode == 0
    assert b"There are several clusters" in both.stdout
    assert b"init --cluster ray-0" in both.stdout
    one = bare_cli.raw("init", "--outputs", "outputs.json", "--cluster", "ray-1", KUBECONFIG="/nowhere")
    assert b"The default target is ray-cluster/ray-1 of the stack dev" in one.stdout
    assert [each["name"] for each in json.loads(default_file(bare_cli).read_text())["clusters"]] == ["ray-1"]
    assert b"It replaces the stack dev (context kind-ray)." in one.stderr


def test_the_selected_stack_of_a_project_becomes_the_default_and_not_the_present_default(
    bare_cli: Cli, tmp_path: Path
) -> None:
    write(default_file(bare_cli), contract("before"))
    write(bare_cli.cwd / "Pulumi.yaml", "name: ray-on-kubernetes\nruntime: python\n")
    write(tmp_path / "stack.json", contract("selected", clusters=2))
    pulumi = write(tmp_path / "bin" / "pulumi", f"#!/bin/sh\ncat {tmp_path}/stack.json\n")
    pulumi.chmod(0o755)
    done = bare_cli.raw(
        "init", PATH=f"{pulumi.parent}:{bare_cli.environ['PATH']}", RAYJOBS_OUTPUTS=str(default_file(bare_cli))
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(default_file(bare_cli).read_text())["stack"] == "selected"
    assert b"RAYJOBS_OUTPUTS is set, and comes before it." in done.stderr


def test_without_a_source_nothing_is_written_and_the_files_here_are_named(bare_cli: Cli) -> None:
    nothing = bare_cli.raw("init")
    assert nothing.returncode == 2
    assert b"No stack: there is no --outputs or --stack" in nothing.stderr
    write(bare_cli.cwd / "outputs.dev.json", contract())
    write(bare_cli.cwd / "outputs.other.json", "{}")
    named = bare_cli.raw("init")
    assert (
        b"Here are the outputs files outputs.dev.json.\n  `python -m jobs init --outputs outputs.dev.json`"
        in named.stderr
    )
    assert not default_file(bare_cli).exists()


def test_a_kubeconfig_that_only_the_user_may_choose_does_not_get_into_the_default(
    bare_cli: Cli, tmp_path: Path
) -> None:
    """The copy would belong to the user, and so pass the check of its owner."""
    config = write(tmp_path / "config", "apiVersion: v1\nkind: Config\ncontexts: []\n")
    outputs = write(bare_cli.cwd / "outputs.json", contract(kubeconfig=str(config)))
    outputs.chmod(0o666)
    done = bare_cli.raw("init", "--outputs", "outputs.json")
    assert done.returncode == 2
    assert b"every user of this machine can write outputs.json" in done.stderr
    assert not default_file(bare_cli).exists()


def test_a_default_that_cannot_be_written_is_named(bare_cli: Cli) -> None:
    write(bare_cli.cwd / "outputs.json", contract())
    default_file(bare_cli).mkdir(parents=True)
    done = bare_cli.raw("init", "--outputs", "outputs.json")
    assert done.returncode == 2
    assert b"Could not write" in done.stderr
    assert [path.name for path in default_file(bare_cli).parent.iterdir()] == ["outputs.json"]


def test_without_arguments_and_without_a_target_the_three_ways_are_shown(bare_cli: Cli) -> None:
    done = bare_cli.raw()
    assert (done.returncode, done.stdout) == (2, b"")
    ways = done.stderr.decode()
    for way in ("init --outputs FILE", "submit --address URL", "submit --local"):
        assert f"python -m jobs {way}" in ways
    write(default_file(bare_cli), contract())
    helped = bare_cli.raw()
    assert helped.returncode == 2
    assert b"Commands:" in helped.stderr


@pytest.mark.parametrize("words", [["list"], ["check"]])
def test_a_command_without_a_target_names_init(words: list[str], bare_cli: Cli) -> None:
    done = bare_cli.raw(*words)
    assert done.returncode == 2
    assert b"No target" in done.stderr
    assert b"`python -m jobs init --outputs FILE`" in done.stderr
