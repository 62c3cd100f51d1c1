"""Options that several commands share."""

from __future__ import annotations

import click

stack_option = click.option("--stack", required=True, envvar="STACK", help="Name of the stack, such as dev.")
detailed_exitcode_option = click.option(
    "--detailed-exitcode",
    is_flag=True,
    help="Exit with 0 for no changes, 1 for an error, 2 for changes, 3 if an object is deleted or replaced.",
)
