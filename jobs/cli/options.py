"""Options that most commands have."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import click

from ..errors import repeat_target
from ..spec.shown import redacted
from .help import option
from .status_line import STATUS_LINE


def _be_quiet(_context: click.Context, _parameter: click.Parameter, quiet: bool) -> None:
    STATUS_LINE.quiet = quiet


F = TypeVar("F", bound=Callable[..., Any])
Decorator = Callable[[Any], Any]

_target = functools.partial(option, section="Target options")
_TARGET_OPTIONS = (
    _target("--address", metavar="URL", help="Jobs API at this URL instead of a cluster of the stack."),
    _target("--outputs", metavar="FILE", help="Outputs file that names the clusters."),
    _target("--stack", metavar="NAME", help="Stack of the Pulumi project; the selection is not changed."),
    _target("--cluster", metavar="NAME", help="Name of the RayCluster, if there are several."),
    _target("--local", is_flag=True, help="A Ray on this machine, started on first use."),
    _target("--context", metavar="NAME", help="Kube context, if it has another name here than in the stack."),
    _target("--kubeconfig", metavar="FILE", help="Kubeconfig instead of the stack's or KUBECONFIG."),
    _target("--token-file", metavar="FILE", help="With --address or --keeper: file with the token."),
    _target("--verify", metavar="BOOL|FILE", default="true", help="TLS with --address: true, false, or a CA file."),
    _target("--headers", metavar="JSON", help="Headers for every request, as a JSON object."),
    _target("--keeper", metavar="URL", help="Keeper of the cluster, instead of the stack's."),
    _target("--ledger", metavar="FILE", help="Ledger file (default: RAYJOBS_LEDGER, or a file of this user)."),
    _target("--allow-unauthenticated", is_flag=True, help="Accept a remote --address without a token."),
)
_quiet_option = option(
    "-q", "--quiet", is_flag=True, expose_value=False, callback=_be_quiet, help="Only errors and failures on stderr."
)
_TARGET_NAMES = (
    "address", "outputs", "stack", "cluster", "local", "context", "kubeconfig", "token_file",
    "allow_unauthenticated", "keeper", "ledger",
)  # fmt: skip


def add_options(command: F, options: Sequence[Decorator]) -> F:
    """Adds options in the order in which the help shows them."""
    for decorate in reversed(options):
        command = decorate(command)
    return command


def _typed(values: Mapping[str, Any]) -> Iterator[str]:
    """The target options that were typed, without headers and addresses that hold a password."""
    for name in (*_TARGET_NAMES, "verify"):
        value, option_name = values[name], f"--{name.replace('_', '-')}"
        if value is True:
            yield option_name
        elif value and (name, value) != ("verify", "true") and redacted(value) == value:
            yield from (option_name, value)


def target_options(command: F) -> F:
    """Adds the target's options; the command gets them as one argument `target_options`."""

    @functools.wraps(command)
    def wrapper(**values: Any) -> Any:
        from ..target.options import TargetOptions, parse_headers

        repeat_target(_typed(values))
        verify = values.pop("verify")
        options = TargetOptions(
            **{name: values.pop(name) for name in _TARGET_NAMES},
            headers=parse_headers(values.pop("headers"), "--headers"),
            verify={"true": True, "1": True, "false": False, "0": False}.get(verify.lower(), verify),
        )
        return command(target_options=options, **values)

    return add_options(wrapper, (_quiet_option, *_TARGET_OPTIONS))  # type: ignore[return-value]


output_option = option(
    "--output", type=click.Choice(["text", "json"]), default="text", help="Text for people, or JSON on stdout."
)
patience_option = option(
    "--patience",
    type=click.FloatRange(min=1),
    default=300.0,
    metavar="SECONDS",
    help="How long to keep trying without any answer of a server that was reached before (default 300).",
)
