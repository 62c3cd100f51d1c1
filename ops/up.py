"""`make up`: `pulumi up` for CI."""

from __future__ import annotations

import sys

import click

from ops import engine
from ops.options import stack_option


@click.command("up")
@stack_option
def up_command(stack: str) -> None:
    """Run `pulumi up` without questions. Exits with Pulumi's exit code."""
    sys.exit(engine.run(["up", "--yes", "--skip-preview"], stack=stack))
