"""`local start|stop|status`: the Ray on this machine that --local uses."""

from __future__ import annotations

import click

from .help import Command
from .output import notify
from .runner import run


@click.command("local", cls=Command)
@click.argument("action", type=click.Choice(["start", "stop", "status"]))
def local_command(action: str) -> None:
    """Start, stop or show the Ray that --local uses. It starts on first use and runs until it is stopped.

    \b
    Examples:
      rayjobs submit --local -- python script.py       starts it if necessary
      rayjobs local status
      rayjobs local stop
    """
    from .. import local_ray

    if action == "stop":
        click.echo("Stopped." if run(local_ray.stop) else "Not running.")
        return
    running = run(lambda: local_ray.ensure(notify) if action == "start" else local_ray.find())
    if running is None:
        click.echo("Not running.")
        return
    click.echo(f"Running at {running.url} (process {running.pid}, token in {running.token_file}).")
