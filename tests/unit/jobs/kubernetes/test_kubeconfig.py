"""Kubeconfig files: which are read, and what is refused."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.errors import Refused
from jobs.kubernetes.api import Kube
from jobs.kubernetes.kubeconfig import check_of_outputs, read_kubeconfig
from tests.support.api_server import UID, api_server
from tests.support.command import Cli
from tests.support.outputs import contract, write

KUBECONFIG = {
    "current-context": "one",
    "contexts": [{"name": "one", "context": {"cluster": "c", "user": "u"}}, {"name": "two", "context": {}}],
}


def choose(kubeconfig: str | None, context: str | None, environ: dict[str, str]) -> tuple[str, str]:
    config = read_kubeconfig(kubeconfig, option="--kubeconfig", environ=environ)
    assert config is not None
    return config.path, config.choose(context, option="--context")


@pytest.mark.parametrize(
    ("content", "context", "named"),
    [
        (None, None, "no kubeconfig at"),
        ("a: [", None, "not YAML at line"),
        ("- 1", None, "not a kubeconfig"),
        (KUBECONFIG, "three", "no context three"),
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
        choose(str(path), context, {})


def test_the_command_refuses_a_bad_kubeconfig_before_anything(bare_cli: Cli, tmp_path: Path) -> None:
    outputs = write(tmp_path / "outputs.json", contract(kubeconfig=str(tmp_path / "missing")))
    done = bare_cli.raw("submit", "--outputs", str(outputs), "--", "true")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"There is no kubeconfig at" in done.stderr


def with_login_program(config: Path, folder: Path) -> Path:
    """Makes the kubeconfig run a program, as an exec plugin does. Returns the file that the program writes."""
    ran = folder / "ran"
    program = write(
        folder / "login",
        f"""#!/bin/sh
touch {ran}
echo '{{"status": {{"token": "x"}}}}'
""",
    )
    program.chmod(0o755)
    content = yaml.safe_load(config.read_text())
    content["users"][0]["user"] = {
        "exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(program), "interactiveMode": "Never"}
    }
    config.write_text(yaml.safe_dump(content))
    return ran


def test_an_outputs_file_does_not_make_a_program_run(bare_cli: Cli, tmp_path: Path) -> None:
    with api_server(tmp_path) as config:
        ran = with_login_program(config, tmp_path)
        outputs = write(tmp_path / "outputs.json", contract(kubeconfig=str(config), kubeContext="test"))
        for command in ("list", "check", "why"):
            done = bare_cli.raw(command, "--outputs", str(outputs))
            assert not ran.exists()
            assert done.returncode != 0
            text = (done.stdout + done.stderr).decode()
            assert f"--kubeconfig {config}" in text
        # Only for a server with TLS: nothing secret goes over plain http.
        config.write_text(config.read_text().replace("http://", "https://"))
        done = bare_cli.raw("list", "--outputs", str(outputs), "--kubeconfig", str(config))
        assert ran.exists(), done.stderr
        ran.unlink()
        bare_cli.raw("list", "--outputs", str(outputs), KUBECONFIG=str(config))
        assert ran.exists()


def test_a_kubeconfig_that_someone_else_can_write_is_not_taken_from_an_outputs_file(tmp_path: Path) -> None:
    outputs, config = write(tmp_path / "outputs.json", "{}"), write(tmp_path / "kubeconfig", KUBECONFIG)
    environ = {"KUBECONFIG": str(tmp_path / "mine")}
    assert check_of_outputs(outputs, str(config), environ) is False
    config.chmod(0o666)
    with pytest.raises(Refused, match="every user of this machine can write"):
        check_of_outputs(outputs, str(config), environ)
    assert check_of_outputs(outputs, str(config), {"KUBECONFIG": str(config)}) is True
    config.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(outputs, 65534, 65534)
        with pytest.raises(Refused, match="belongs to another user"):
            check_of_outputs(outputs, str(config), environ)


def test_several_kubeconfig_files_are_read_as_one(tmp_path: Path) -> None:
    first = write(tmp_path / "a", {"contexts": [{"name": "a", "context": {}}]})
    second = write(tmp_path / "b", KUBECONFIG)
    environ = {"KUBECONFIG": f"{first}:{second}:{tmp_path}/none"}
    assert choose(None, "two", environ) == (f"{first}:{second}", "two")
    assert choose(None, None, environ) == (f"{first}:{second}", "one")


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
