"""The group of commands. Each command's module is imported when the command is used."""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..activity import listening
from ..errors import COMMAND, EXIT_REFUSED, did_you_mean
from .help import as_typed
from .runner import on_sigterm, report, terminating_signals
from .status_line import STATUS_LINE

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

# Command -> its line in `--help`. The command NAME is `NAME_command` in the module NAME of this folder.
COMMANDS = {
    "init": "Make a cluster the default target, and check it.",
    "submit": "Submit a job, follow its log, exit with its result.",
    "status": "Show jobs as the server has them now.",
    "list": "List the jobs that the server knows.",
    "logs": "Print a job's log; with --follow until the job ends.",
    "wait": "Wait for jobs to end, exit with their result.",
    "stop": "Stop jobs and wait until they have ended.",
    "delete": "Delete the server's record of jobs that have ended.",
    "prune": "Delete the server's records of old jobs.",
    "history": "Show what was submitted from here; --team: all jobs.",
    "rerun": "Submit a job of the local job history again.",
    "why": "Explain why a job waits or failed, and what helps.",
    "check": "Check whether jobs can run at the target.",
    "page": "Open the page of all jobs in the browser.",
    "forward": "Open a tunnel for the ray CLI and the dashboard.",
    "keep": "Keep every job of a cluster, with its log, until Ctrl-C.",
    "local": "Start, stop or show the Ray that --local uses.",
    "completion": "Print the completion script of a shell.",
}

# What the same is called by ray, kubectl and other clients of clusters.
OF_OTHERS = {
    "ls": "list", "ps": "list", "queue": "list", "get": "status", "info": "status", "describe": "status",
    "cancel": "stop", "kill": "stop", "rm": "delete", "remove": "delete", "run": "submit", "exec": "submit",
    "launch": "submit", "tail": "logs", "attach": "logs", "doctor": "check", "dashboard": "forward",
    "port-forward": "forward", "ui": "page", "web": "page", "open": "page",
}  # fmt: skip

HELP = """Submit and follow Ray jobs on Kubernetes.

    \b
    First steps:
      rayjobs init --outputs FILE                      the cluster that commands use
      rayjobs check                                    can jobs run there?
      rayjobs submit -- python -c "print('hello')"     run a command
      rayjobs submit --working-dir . -- python train.py --epochs 3
      rayjobs list                                     the jobs of the server
      rayjobs logs --follow ID                         follow a job's log

    The target is the selected stack of the Pulumi project around the working directory, an outputs file, or --address
    URL. --local runs everything on this machine. `rayjobs COMMAND --help` shows options and examples.

    \b
    stdout is the job's own output; messages of this program go to stderr.
    Exit codes: 0 succeeded, 1 failed, 2 refused input, 3 stopped, 4 lost,
    5 a deadline passed, 6 unreachable or not allowed, 130 Ctrl-C, 143 SIGTERM.
    """


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(f".{cmd_name}", __package__), f"{cmd_name}_command")
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggests a command for one that does not exist."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            near = f"Did you mean {OF_OTHERS[name]}? " if name in OF_OTHERS else did_you_mean(name, COMMANDS)
            ctx.fail(f"No such command {name!r}. {near}".rstrip())
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Offers the commands without importing their modules."""
        from click.shell_completion import CompletionItem

        items = [CompletionItem(name, help=line) for name, line in COMMANDS.items() if name.startswith(incomplete)]
        return [*items, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=LazyGroup,
    help=as_typed(HELP),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
def cli() -> None:
    """See HELP."""


def _has_target() -> bool:
    from ..default_target import has_target

    return has_target(Path.cwd())


def main() -> None:
    """Runs the console command. It never ends with a traceback for an error that a user can meet."""
    gc.disable()  # Imports make no garbage. `run` turns it on again.
    for number in terminating_signals():
        signal.signal(number, on_sigterm)
    try:
        if instruction := os.environ.get("_RAYJOBS_COMPLETE"):
            from .completion import complete

            sys.exit(complete(cli, instruction))
        if not sys.argv[1:] and not _has_target():
            from .init import print_ways

            print_ways()
            sys.exit(EXIT_REFUSED)
        # Not cli.main(), which handles a closed stdout in its own way.
        with listening(STATUS_LINE), cli.make_context(COMMAND, sys.argv[1:]) as context:
            code = cli.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as leaving:
        code = leaving.exit_code
    except BrokenPipeError:
        # The reader of stdout went away (`| head`): end as other programs do, without a second error at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 128 + signal.SIGPIPE
    except (Exception, KeyboardInterrupt) as error:
        code = report(error)
    # At its end Python looks for garbage among all objects of all modules, which takes longer than any import here.
    gc.freeze()
    sys.exit(code if isinstance(code, int) else 0)
