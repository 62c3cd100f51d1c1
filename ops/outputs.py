"""`make outputs`: a stack's outputs as a file."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ops import engine
from ops.errors import OpsError
from ops.options import stack_option


@click.command("outputs")
@stack_option
@click.option("--file", "path", type=click.Path(path_type=Path), help="File to write [default: outputs.STACK.json].")
def outputs_command(stack: str, path: Path | None) -> None:
    """Write the stack's outputs to a file, for people and CI without Pulumi.

    The jobs command reads the file with `--outputs FILE`, from the variable RAYJOBS_OUTPUTS, or from
    ~/.config/rayjobs/outputs.json.
    """
    contract = engine.stack_outputs(stack).get("contract")
    if not contract:
        raise OpsError(f"stack {stack} has no outputs yet: run `pulumi up --stack {stack}` first")
    target = path or engine.ROOT / f"outputs.{stack}.json"
    target.write_text(json.dumps(contract, indent=2) + "\n")
    click.echo(str(target))
