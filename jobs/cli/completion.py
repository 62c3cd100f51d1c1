"""`completion [SHELL]`: the completion of commands, options, ids and clusters, for bash, zsh and fish."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ..errors import Refused, command
from .help import Command

SHELLS = ("bash", "zsh", "fish")
# The command as it is installed, and the variable with which its script asks for candidates; both are click's rules.
PROGRAM = "rayjobs"
VARIABLE = "_RAYJOBS_COMPLETE"


@click.command("completion", cls=Command)
@click.argument("shell", type=click.Choice(SHELLS), metavar="[SHELL]", required=False)
def completion_command(shell: str | None) -> None:
    """Print the completion script of a shell: bash, zsh or fish. Without SHELL, of the shell in $SHELL.

    It completes commands, options, files, submission ids (of the local job history), clusters (of the outputs file),
    stacks (of the Pulumi project around the working directory) and contexts. No cluster is asked. It needs the
    installed command `rayjobs`.

    \b
    Examples:
      rayjobs completion bash > ~/.local/share/bash-completion/completions/rayjobs
      rayjobs completion zsh > "${fpath[1]}/_rayjobs"
      rayjobs completion fish > ~/.config/fish/completions/rayjobs.fish
    """
    from click.shell_completion import get_completion_class

    shell = shell or Path(os.environ.get("SHELL", "")).name
    completion = get_completion_class(shell) if shell in SHELLS else None
    if completion is None:
        raise Refused(f"There is no completion for the shell {shell!r}.", f"Name one: {command('completion bash')}.")
    click.echo(completion(click.Command(PROGRAM), {}, PROGRAM, VARIABLE).source(), nl=False)


def complete(cli: click.Command, instruction: str) -> int:
    """Answers the script of a shell. Returns the exit code."""
    from click.shell_completion import shell_complete

    return shell_complete(cli, {}, PROGRAM, VARIABLE, instruction)
