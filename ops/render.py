"""`make render`: a stack's manifests as files, without a cluster, a secret or the stack's backend."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from jobs.errors import did_you_mean
from jobs.yaml_file import NotYaml, dump_yaml, parse_as_typed
from ops import engine
from ops.errors import CannotRender
from ops.options import stack_option

PLACEHOLDER = "placeholder-for-a-secret"


@click.command("render")
@stack_option
@click.option("--to", type=click.Path(path_type=Path), help="Folder to write; emptied first [default: rendered/STACK].")
def render_command(stack: str, to: Path | None) -> None:
    """Write the stack's manifests to files, without a cluster or a secret.

    Apply them with `kubectl apply --server-side`.
    """
    folder = (to or engine.ROOT / "rendered" / stack).resolve()
    render(stack, folder)
    click.echo(str(folder))


def render(stack: str, to: Path, *, root: Path = engine.ROOT) -> None:
    """Writes the manifests of a stack to files, on a temporary file backend and without a kubeconfig.

    Args:
        stack: Name of the stack.
        to: Folder to write; emptied first.
        root: The checkout whose program and stack file are used.

    Raises:
        CannotRender: The stack has no stack file, or it is not YAML.
        EngineFailed: The program does not run; the message has Pulumi's output.
    """
    stack_file = root / f"Pulumi.{stack}.yaml"
    if not stack_file.is_file():
        stacks = sorted(file.name.split(".")[1] for file in root.glob("Pulumi.*.yaml"))
        near = did_you_mean(stack, stacks, sentence=False)
        raise CannotRender(f"no stack file {stack_file.name}; {near}stacks with one: {', '.join(stacks) or 'none'}")
    try:
        # As typed: the engine has to read the same text as an `up` does.
        settings = without_secrets(parse_as_typed(stack_file.read_text()) or {})
    except NotYaml as error:
        raise CannotRender(f"{stack_file.name} {error}") from None
    settings["config"][f"{engine.PROJECT}:renderTo"] = str(to)
    for key in ("kubeContext", "kubeconfig"):
        settings["config"].pop(f"{engine.PROJECT}:{key}", None)
    shutil.rmtree(to, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="render-") as scratch:
        config_file = Path(scratch) / stack_file.name
        config_file.write_text(dump_yaml(settings))
        backend = Path(scratch) / "state"
        backend.mkdir()
        environment = {
            "PULUMI_BACKEND_URL": f"file://{backend}",
            "PULUMI_CONFIG_PASSPHRASE": "temporary",
            "KUBECONFIG": os.devnull,
        }
        config = ["--config-file", str(config_file)]
        engine.init_stack(stack, environment)
        engine.run_quietly(
            ["up", "--yes", "--skip-preview", "--stack", stack, *config], cwd=root, environment=environment
        )


def without_secrets(stack_file: Mapping[str, Any]) -> dict[str, Any]:
    """The `config` of a stack file with a placeholder for each encrypted value. It needs no key to be read."""

    def masked(value: Any) -> Any:
        if isinstance(value, Mapping):
            return PLACEHOLDER if set(value) == {"secure"} else {key: masked(entry) for key, entry in value.items()}
        return [masked(entry) for entry in value] if isinstance(value, list) else value

    return {"config": masked(stack_file.get("config") or {})}
