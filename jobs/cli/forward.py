"""`forward`: a tunnel to the dashboard, for as long as the command runs."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..activity import activity
from ..errors import Interrupted, Refused
from .help import TARGET_HELP, Command, files, option
from .options import target_options
from .output import notify
from .runner import run

if TYPE_CHECKING:
    from ..connection import Connection
    from ..target.options import TargetOptions


@click.command("forward", cls=Command, epilog=TARGET_HELP, context_settings={"allow_interspersed_args": False})
@option("--port", type=click.IntRange(0, 65535), default=0, metavar="PORT", help="Local port (default: a free one).")
@target_options
@click.argument("command", nargs=-1, type=click.UNPROCESSED, shell_complete=files)
def forward_command(port: int, command: tuple[str, ...], target_options: TargetOptions) -> None:
    """Open a tunnel to the dashboard, on this machine's loopback interface only, until Ctrl-C.

    Prints the environment variables for the stock `ray` CLI. The token and your headers are in files that only you can
    read, and that are removed at the end. With `-- COMMAND`, that command runs with these variables, and its exit code
    is returned.

    \b
    Examples:
      rayjobs forward
      rayjobs forward --port 8265                      then open http://127.0.0.1:8265
      rayjobs forward -- ray job list
      rayjobs forward -- ray job submit --working-dir . -- python script.py
    """
    from dataclasses import replace

    from ..connection import open_connection
    from ..deadline import Deadline
    from ..target.resolve import resolve

    target = resolve(replace(target_options, port=port), notify=notify)

    async def main() -> int:
        async with open_connection(target, notify=notify) as connection:
            await connection.client.version(Deadline(60.0))
            with tempfile.TemporaryDirectory(prefix="rayjobs-") as directory:
                variables = await _variables(connection, Path(directory))
                headers = _write_headers(connection, await connection.read_token(), Path(directory))
                if command:
                    return await _run_command(command, variables, headers)
                await _wait_with(variables, headers)
        return 0

    try:
        code = run(main)
    except Interrupted as interrupted:
        if interrupted.terminated:
            raise
        notify("The tunnel is closed.")
        code = 0
    raise SystemExit(code)


async def _variables(connection: Connection, directory: Path) -> dict[str, str]:
    """Returns the environment with which the stock client reaches the same Ray."""
    from ..private_file import write_private

    variables = {"RAY_ADDRESS": connection.url, "RAY_API_SERVER_ADDRESS": connection.url}
    token = await connection.read_token()
    if token is None:
        return {**variables, "RAY_AUTH_MODE": "disabled"}
    write_private(directory / "token", token)
    return {**variables, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(directory / "token")}


def _write_headers(connection: Connection, token: str | None, directory: Path) -> Path | None:
    """Writes the user's headers to a file in the form of RAY_JOB_HEADERS; None without headers.

    The stock client sends no token beside an Authorization header of the user, so the token is among the headers then.
    """
    import json

    from ..dashboard.http import token_headers
    from ..private_file import write_private

    headers = dict(connection.target.headers)
    if not headers:
        return None
    if token is not None and "authorization" in {name.lower() for name in headers}:
        headers |= token_headers(token, headers)
    write_private(directory / "headers", json.dumps(headers))
    return directory / "headers"


async def _wait_with(variables: dict[str, str], headers: Path | None) -> None:
    import asyncio

    for name, value in variables.items():
        click.echo(f"export {name}={value}")
    if headers is not None:
        click.echo(f'export RAY_JOB_HEADERS="$(cat {headers})"')
    notify(f"The dashboard is at {variables['RAY_ADDRESS']}. Ctrl-C closes the tunnel.")
    await asyncio.Event().wait()


async def _run_command(command: tuple[str, ...], variables: dict[str, str], headers: Path | None) -> int:
    import asyncio

    if headers is not None:
        variables = {**variables, "RAY_JOB_HEADERS": headers.read_text(encoding="utf-8")}

    inherited = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_TOKEN"}
    try:
        process = await asyncio.create_subprocess_exec(*command, env={**inherited, **variables})
    except OSError as error:
        raise Refused(f"Could not run {command[0]!r}: {error.strerror}.", "Check the command after `--`.") from None
    try:
        with activity("", plain=True):  # The command has the terminal.
            code = await process.wait()
    except asyncio.CancelledError:
        # Ctrl-C reached the command too, SIGTERM did not. In both cases its end is waited for.
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            await process.wait()
        raise
    return code if code >= 0 else 128 - code
