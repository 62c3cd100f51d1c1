"""`make running`: the jobs that run now on a stack's clusters."""

from __future__ import annotations

import click

from ops import engine, running_jobs
from ops.errors import OpsError
from ops.options import stack_option


@click.command("running")
@stack_option
def running_command(stack: str) -> None:
    """List the jobs that run now on the stack's clusters. A cluster that does not answer is named and is no error.

    This takes the rights of a job user. So CI runs it with the code of the default branch, and `preview`, which runs a
    pull request's code, with --no-running-jobs.
    """
    contract = engine.stack_outputs(stack).get("contract")
    if not contract:
        raise OpsError(f"stack {stack} has no outputs yet: run `pulumi up --stack {stack}` first")
    running_jobs.report(contract)
