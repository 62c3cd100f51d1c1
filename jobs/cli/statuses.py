"""The option --status: a status in capitals."""

from __future__ import annotations

from functools import partial

import click

from ..errors import did_you_mean
from .help import option


def _check(_context: click.Context, _parameter: click.Parameter, value: str | tuple[str, ...] | None) -> object:
    """Refuses a status that is nearly right. An unknown one may be of a newer Ray."""
    if isinstance(value, tuple):
        return tuple(_status(each) for each in value)
    return None if value is None else _status(value)


def _status(text: str) -> str:
    from .candidates import OF_LEDGER

    status = text.upper()
    near = "" if status in OF_LEDGER else did_you_mean(status, OF_LEDGER)
    if near:
        raise click.BadParameter(f"{text!r} is not a status. {near}It is one of {', '.join(OF_LEDGER)}.")
    return status


status_option = partial(option, "--status", metavar="STATUS", callback=_check)
statuses_option = partial(status_option, "statuses", multiple=True, help="Only this status (repeatable).")
