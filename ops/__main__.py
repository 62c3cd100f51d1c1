"""`python -m ops COMMAND`: a command is the file of its name in this folder, and a target of the Makefile."""

from __future__ import annotations

import importlib
import sys

import click

from components.errors import ClusterError, StackError
from jobs.errors import did_you_mean
from jobs.spec.shown import visible
from ops.errors import OpsError
from single_node.errors import SingleNodeError

# Command -> one line of help. Listing the commands loads none of them.
COMMANDS = {
    "demo": "Deploy with what this machine has and run a first job.",
    "cluster": "Run a single-node Kubernetes on this machine, without Docker.",
    "pulumi": "Install the Pulumi CLI that the workflows use.",
    "test": "Run all tests that this machine can run.",
    "outputs": "Write a stack's outputs to a file.",
    "up": "Run `pulumi up` without questions.",
    "preview": "Show what `up` would change, and the jobs that run now.",
    "running": "List the jobs that run now on a stack's clusters.",
    "drift": "Compare the cluster with the stack.",
    "render": "Write a stack's manifests to files.",
    "diff": "Compare a stack's manifests with those of a git revision.",
    "destroy": "Destroy a stack and check that nothing is left.",
    "recover": "Repair a stack's state after a killed `up`.",
    "inventory": "List a stack's objects and whether they are on the cluster.",
    "image": "Build the image of the keeper.",
    "session": "Run a first session with `rayjobs` and write it to docs/first-session.md.",
    "docs": "Write the generated pages of docs/.",
    "manifests": "Fetch KubeRay's manifests and record their digests.",
    "dashboards": "Record the digest of Ray's Grafana dashboards.",
    "environments": "Check the protection rules of GitHub's environments.",
}


class LazyGroup(click.Group):
    """Loads `ops/COMMAND.py` only for the command that runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(f"ops.{cmd_name}"), f"{cmd_name}_command")
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggests a command for one that does not exist."""
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"No such command {args[0]!r}. {did_you_mean(args[0], COMMANDS)}".rstrip())
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def ops() -> None:
    """Tasks around the Pulumi program, for people and CI."""


def main() -> None:
    """Exits with 1 and one message for an error of Pulumi, the cluster, the settings or this package."""
    try:
        ops()
    except (OpsError, ClusterError, StackError, SingleNodeError) as error:
        click.echo(visible(f"error: {error}", lines=True), err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
