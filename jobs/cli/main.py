"""The command line: arguments to library to exit code. Commands are loaded when they are used."""

from __future__ import annotations

import importlib
import os
import signal
import sys

import click

from .options import on_sigterm, report

# Command -> (module, one line of help). Listing the commands loads none of them.
COMMANDS = {
    "submit": (".submit", "Submit a job, follow its log, exit by its result."),
    "status": (".jobs", "Show a job as the server has it now."),
    "list": (".jobs", "List the jobs that the server knows."),
    "logs": (".jobs", "Print a job's log; --follow to its end."),
    "wait": (".jobs", "Wait for jobs to end, exit by their result."),
    "stop": (".jobs", "Stop a job and wait until it has ended."),
    "delete": (".jobs", "Delete the record of a job that has ended."),
    "history": (".history", "Show what was submitted from this machine, cluster or no cluster."),
    "rerun": (".rerun", "Submit a job of the history again."),
    "why": (".why", "Say why a job waits or failed, and what would help."),
    "check": (".cluster", "Say whether jobs can run there, or what is wrong."),
    "forward": (".cluster", "Hold a tunnel open for the ray CLI and the dashboard."),
    "local": (".cluster", "Start, stop or show the Ray behind --local."),
}


class LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(COMMANDS[cmd_name][0], __package__), f"{cmd_name}_command")
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def cli() -> None:
    """Submit, follow and account for Ray jobs on Kubernetes.

    \b
    First steps:
      jobs check                                    can jobs run there?
      jobs submit -- python -c "print('hello')"     run a command
      jobs submit --working-dir . -- python train.py --epochs 3
      jobs list                                     what is there
      jobs logs --follow ID                         attach to one

    In the repository `jobs` is `python -m jobs`; installed it is `rayjobs`.

    The target is the selected stack of the Pulumi project around the working directory, an outputs file, or --address
    URL; --local runs everything on this machine. `jobs COMMAND --help` is a page with examples.

    \b
    stdout is the job's own output; what this program says goes to stderr.
    Exit codes: 0 succeeded, 1 failed, 2 refused input, 3 stopped, 4 lost,
    5 a deadline passed, 6 unreachable or not allowed, 130 Ctrl-C, 143 SIGTERM.
    """


def main() -> None:
    """The console command: never ends with a traceback for what a user can meet."""
    signal.signal(signal.SIGTERM, on_sigterm)
    try:
        # Not cli.main(), which has a way of its own with a closed stdout.
        name = "rayjobs" if sys.argv[0].endswith("rayjobs") else "jobs"
        with cli.make_context(name, sys.argv[1:]) as context:
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
    sys.exit(code if isinstance(code, int) else 0)
