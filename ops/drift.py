"""`make drift`: does the cluster still agree with the stack?"""

from __future__ import annotations

import sys

import click

from ops import changes
from ops.options import stack_option


@click.command("drift")
@stack_option
def drift_command(stack: str) -> None:
    """Compare the cluster with the stack; changes nothing.

    Exit codes: 0 they agree, 2 they differ, 1 an error.
    """
    code, differences = changes.observe(["preview", "--refresh", "--diff"], stack=stack)
    if code:
        sys.exit(changes.ERROR)
    click.echo(changes.summary(differences), err=True)
    sys.exit(changes.CHANGES if differences else changes.NO_CHANGES)
