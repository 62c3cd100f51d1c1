"""The form of `--help`: options under headings, and examples that the reader can paste."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from ..errors import COMMAND

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

TARGET_HELP = """
\b
Where jobs go, first match:
  --local              a Ray started for you on this machine
  --address URL        an Ingress, a service name inside a pod, or any other Ray
  --outputs FILE       an outputs file (`make outputs` writes one)
  --stack NAME         a stack of the Pulumi project around the working directory
  $RAYJOBS_OUTPUTS     an outputs file
  (nothing)            the selected stack of the Pulumi project around the working directory
  ~/.config/rayjobs/outputs.json
RAY_ADDRESS and RAY_API_SERVER_ADDRESS are ignored.
"""

ANSWER_HELP = """
\b
Exit codes: 0 answered, 2 refused input or unknown job, 6 unreachable or not allowed.
"""

STOP_HELP = """
\b
Exit codes: 0 ended, or asked to stop with --no-wait; 2 unknown job,
5 still running when --timeout passed, 6 unreachable or not allowed.
"""

RESULT_HELP = """
\b
Exit codes: 0 succeeded, 1 failed, 2 refused input, 3 stopped, 4 lost,
5 a deadline passed, 6 unreachable or not allowed, 130 Ctrl-C, 143 SIGTERM.
"""


def as_typed(text: str) -> str:
    """Returns the text with the command as the reader has to type it; in the source it is `rayjobs`."""
    return text.replace("rayjobs ", f"{COMMAND} ")


class Option(click.Option):
    """An option under a heading of the help."""

    def __init__(self, *arguments: Any, section: str = "Options", **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.section = section

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        from .candidates import option_items

        items = option_items(self.name or "", self.metavar or "", ctx, incomplete)
        return super().shell_complete(ctx, incomplete) if items is None else items


class IdArgument(click.Argument):
    """The submission id of one or more jobs."""

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        from .candidates import id_items

        return id_items(ctx, incomplete)


def files(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Offers files: `shell_complete` of an argument."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


id_argument = partial(click.argument, cls=IdArgument)
option = partial(click.option, cls=Option)


class Command(click.Command):
    """A command whose help groups its options under headings."""

    def __init__(self, *arguments: Any, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.help = as_typed(self.help or "")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the headings in the order of their first options."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                sections.setdefault(getattr(parameter, "section", "Options"), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)
