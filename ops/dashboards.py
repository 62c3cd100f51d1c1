"""`python -m ops dashboards`: the Grafana dashboards that the installed Ray writes."""

from __future__ import annotations

import click

from components.grafana import dashboards


@click.group("dashboards")
def dashboards_command() -> None:
    """Record the digest of Ray's Grafana dashboards."""


@dashboards_command.command()
def record() -> None:
    """Record the digest of the installed Ray's dashboards in the repository."""
    click.echo(dashboards.record())
