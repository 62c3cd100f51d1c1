"""`make preview`: the changes that `up` would make, and the jobs that run now."""

from __future__ import annotations

import sys

import click

from ops import changes, engine, running_jobs
from ops.options import detailed_exitcode_option, stack_option


@click.command("preview")
@stack_option
@click.option(
    "--running-jobs/--no-running-jobs", "ask", default=True, show_default=True, help="Also list the jobs that run now."
)
@detailed_exitcode_option
def preview_command(stack: str, ask: bool, detailed_exitcode: bool) -> None:
    """Show what `up` would change, and which jobs run now.

    `make` has exit codes of its own: for --detailed-exitcode run `python -m ops preview`.
    """
    code, planned = changes.observe(["preview", "--diff"], stack=stack)
    if code:
        sys.exit(changes.ERROR)
    click.echo(changes.summary(planned), err=True)
    contract = engine.stack_outputs(stack).get("contract") if ask else None
    if contract:
        running_jobs.report(contract)
    sys.exit(changes.exit_code(planned) if detailed_exitcode else 0)
