"""`init`: the default target; and what `rayjobs` says in a place without one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import COMMAND, Refused, command
from .check import print_findings
from .help import Command, option
from .output import notify, print_text

if TYPE_CHECKING:
    from ..target.contract import Contract
    from ..target.options import TargetOptions

WAYS = """\
There is no target here: no Ray cluster that a command could use. There are three ways to one.

A cluster of a stack. `make outputs` writes FILE; in the Pulumi project, no FILE is needed:
  rayjobs init --outputs FILE

Any other Ray, by the address of its dashboard:
  rayjobs submit --address URL -- python train.py

A Ray on this machine, started on first use:
  rayjobs submit --local -- python train.py

`rayjobs --help` shows all commands."""


@click.command("init", cls=Command)
@option("--outputs", metavar="FILE", help="Outputs file that names the clusters.")
@option("--stack", metavar="NAME", help="Stack of the Pulumi project around the working directory.")
@option("--cluster", metavar="NAME", help="Only this RayCluster, if there are several.")
@option("--context", metavar="NAME", help="Kube context, if it has another name here than in the stack.")
@option("--kubeconfig", metavar="FILE", help="Kubeconfig instead of the stack's or KUBECONFIG.")
def init_command(
    outputs: str | None, stack: str | None, cluster: str | None, context: str | None, kubeconfig: str | None
) -> None:
    """Make a cluster the default target, and check it.

    The outputs of a file, of a stack, or of the selected stack become the file ~/.config/rayjobs/outputs.json. Commands
    use it where no option, no RAYJOBS_OUTPUTS and no Pulumi project names a target. Exits as `rayjobs check`.

    \b
    Examples:
      rayjobs init --outputs outputs.dev.json
      rayjobs init --stack prod --context my-prod
    """
    from ..default_target import write_default
    from ..target.options import TargetOptions
    from ..target.resolve import resolve

    contract = _choose(
        TargetOptions(outputs=outputs, stack=stack, cluster=cluster, context=context, kubeconfig=kubeconfig)
    )
    path, before = write_default(contract)
    names = ", ".join(f"{each.namespace}/{each.name}" for each in contract.clusters)
    if before is not None and before.to_dict() != contract.to_dict():
        notify(f"It replaces the stack {before.stack or '(no name)'} (context {before.kube_context or 'none'}).")
    print_text(f"The default target is {names} of the stack {contract.stack or '(no name)'}, in {path}.")
    if os.environ.get("RAYJOBS_OUTPUTS"):
        notify("RAYJOBS_OUTPUTS is set, and comes before it.")
    if len(contract.clusters) > 1:
        some = contract.clusters[0].name
        print_text(f"There are several clusters: name one in each command, or use {command(f'init --cluster {some}')}.")
        return
    code = print_findings(resolve(TargetOptions(outputs=str(path)), notify=notify), "text")
    if code:
        print_text(f"Fix this, then run {command('check')}. The default target stays as it is.")
        raise SystemExit(code)
    print_text(
        f"Next:\n  {COMMAND} submit --working-dir . -- python train.py\n  {COMMAND} list --watch\n"
        f"  {COMMAND} completion --help"
    )


def _choose(options: TargetOptions) -> Contract:
    from ..default_target import choose_default, outputs_here

    try:
        return choose_default(options)
    except Refused as error:
        files = [] if options.outputs or options.stack else outputs_here(Path.cwd())
        if not files:
            raise
        raise Refused(
            f"{error.message} Here are the outputs files {', '.join(files)}.", command(f"init --outputs {files[0]}")
        ) from None


def print_ways() -> None:
    """Prints the three ways to a target to stderr."""
    click.echo(WAYS.replace("rayjobs ", f"{COMMAND} "), err=True)
