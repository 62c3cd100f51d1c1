"""Nearly right words: what is suggested for them, and that nothing is suggested for others."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from jobs.errors import Refused, did_you_mean
from jobs.kubernetes.kubeconfig import read_kubeconfig
from ops.__main__ import ops
from tests.support.command import Cli
from tests.support.outputs import contract, write


@pytest.mark.parametrize(
    ("word", "words", "near"),
    [
        ("lsit", ["list", "logs"], "list"),
        ("RUNING", ["RUNNING", "PENDING"], "RUNNING"),
        ("max_workers", ["minWorkers", "maxWorkers"], "maxWorkers"),
        ("maxReplicas", ["min", "max"], "max"),
        ("dev", ["prod", "development"], "development"),
        ("dev", ["dev-a", "dev-bbbbbb"], "dev-a"),
        ("xyz", ["list", "logs"], None),
        ("", ["list"], None),
        ("a", [], None),
    ],
)
def test_the_nearest_word_is_suggested_and_none_that_is_far(word: str, words: list[str], near: str | None) -> None:
    assert did_you_mean(word, words) == (f"Did you mean {near}? " if near else "")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("lsit",), "No such command 'lsit'. Did you mean list?"),
        (("ls",), "No such command 'ls'. Did you mean list?"),
        (("cancel", "a"), "No such command 'cancel'. Did you mean stop?"),
        (("zzz",), "No such command 'zzz'."),
        (("list", "--stauts", "x"), "--status"),
        (("list", "--status", "runing"), "'runing' is not a status. Did you mean RUNNING?"),
        (("history", "--status", "lsot"), "'lsot' is not a status. Did you mean LOST?"),
        (("completion", "bsh"), "'bash'"),
    ],
)
def test_a_command_an_option_and_a_status_that_are_nearly_right_are_suggested(
    words: tuple[str, ...], text: str, bare_cli: Cli
) -> None:
    done = bare_cli.raw(*words)
    assert done.returncode == 2
    assert text in done.stderr.decode()


def test_a_command_of_ops_that_is_nearly_right_is_suggested() -> None:
    done = CliRunner().invoke(ops, ["rendr"])
    assert done.exit_code == 2
    assert "No such command 'rendr'. Did you mean render?" in done.output


def test_a_cluster_that_is_nearly_right_is_suggested(bare_cli: Cli) -> None:
    write(bare_cli.cwd / "outputs.json", contract(clusters=2))
    done = bare_cli.raw("list", "--outputs", "outputs.json", "--cluster", "ray_1")
    assert done.returncode == 2
    assert b"has no cluster 'ray_1'.\n  Did you mean ray-1? It has: ray-0, ray-1." in done.stderr


def test_a_context_that_is_nearly_right_is_suggested(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("apiVersion: v1\nkind: Config\ncontexts:\n- {name: kind-ray, context: {}}\n")
    read = read_kubeconfig(str(config), option="--kubeconfig")
    assert read is not None
    with pytest.raises(Refused, match="has no context kind-rya") as error:
        read.choose("kind-rya", option="--context")
    assert error.value.remedy == "Did you mean kind-ray? Set --context to one of: kind-ray."


def test_a_stack_that_is_nearly_right_is_suggested(bare_cli: Cli, tmp_path: Path) -> None:
    (bare_cli.cwd / "Pulumi.yaml").write_text("name: ray-on-kubernetes\nruntime: python\n")
    (bare_cli.cwd / "Pulumi.staging.yaml").touch()
    pulumi = tmp_path / "bin" / "pulumi"
    pulumi.parent.mkdir()
    pulumi.write_text("#!/bin/sh\necho \"error: no stack named 'stagin' found\" >&2\nexit 255\n")
    pulumi.chmod(pulumi.stat().st_mode | stat.S_IXUSR)
    path = f"{pulumi.parent}:{bare_cli.environ['PATH']}"
    done = bare_cli.raw("check", "--stack", "stagin", PATH=path)
    assert done.returncode == 2
    assert b"Did you mean staging? Was the stack brought up?" in done.stderr
    assert b"Did you mean" not in bare_cli.raw("check", "--stack", "staging", PATH=path).stderr


def test_a_key_of_a_jobs_file_that_is_nearly_right_is_suggested(bare_cli: Cli) -> None:
    write(bare_cli.cwd / "jobs.yaml", json.dumps({"jobs": [{"entrypoint": "true"}], "concurency": 2}))
    done = bare_cli("submit", "--file", "jobs.yaml")
    assert done.returncode == 2
    assert b"concurency: is not known; did you mean concurrency? allowed: name, concurrency" in done.stderr
