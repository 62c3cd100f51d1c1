"""`make inventory`: which of a stack's objects are on the cluster."""

from __future__ import annotations

import sys

import click

from ops import engine, stack_objects
from ops.options import stack_option


@click.command("inventory")
@stack_option
def inventory_command(stack: str) -> None:
    """List the stack's objects and whether they are on the cluster. Exits with 2 if one is missing."""
    resources = engine.stack_state(stack)
    objects = stack_objects.objects(resources)
    present = {entry for entry, _ in stack_objects.find_on_cluster(stack_objects.connect(resources), objects)}
    for entry in objects:
        click.echo(f"{'present' if entry in present else 'MISSING':8}{entry}")
    sys.exit(0 if len(present) == len(objects) else 2)
