"""Commands on the target itself: check, forward, local."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import Interrupted
from .options import TARGET_HELP, output_option, print_json, run, say, target_options

if TYPE_CHECKING:
    from ..connection import Connection
    from ..diagnose.check import Finding
    from ..target.resolve import Options


@click.command("check")
@output_option
@target_options
def check_command(output: str, target_options: Options) -> None:
    """Say whether jobs can run at the target, or what is wrong and what to do about it.

    For a cluster: the context, the cluster's identity, the head pod, Ray inside its container `ray-head` (`ray.init()`
    there, its address and resources), versions, workers, then the tunnel, the token and the Jobs API. For an address:
    what can be asked from outside. Exits 0 if jobs can run, warnings or not.

    \b
    Examples:
      jobs check
      jobs check --address https://ray.example.com
      jobs check --output json
    """
    from ..diagnose.check import check
    from ..target.resolve import resolve

    target = resolve(target_options, note=say)

    async def main() -> list[Finding]:
        findings = []
        async for finding in check(target, say):
            findings.append(finding)
            if output == "text":
                click.echo(f"{finding.state:<8}{finding.step:<11}{finding.text}")
                if finding.remedy:
                    click.echo(f"{'':<19}{finding.remedy}")
        return findings

    findings = run(main)
    if output == "json":
        print_json([vars(finding) for finding in findings])
    raise SystemExit(next((finding.exit_code for finding in findings if finding.state == "failed"), 0))


check_command.epilog = TARGET_HELP


@click.command("forward", context_settings={"allow_interspersed_args": False})
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, metavar="PORT", help="Local port (default: a free one)."
)
@target_options
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def forward_command(port: int, command: tuple[str, ...], target_options: Options) -> None:
    """Hold a tunnel to the dashboard open, on this machine's loopback only, until Ctrl-C.

    Prints what to export for the stock `ray` CLI; the token stands in a file that only you can read and that goes away
    at the end. With `-- COMMAND` that command runs with all of it set, and its exit code is this one's.

    \b
    Examples:
      jobs forward
      jobs forward --port 8265                      then open http://127.0.0.1:8265
      jobs forward -- ray job list
      jobs forward -- ray job submit --working-dir . -- python script.py
    """
    from dataclasses import replace

    from ..connection import connect
    from ..deadline import Deadline
    from ..target.resolve import resolve

    target = resolve(replace(target_options, port=port), note=say)

    async def main() -> int:
        async with connect(target, note=say) as connection:
            await connection.client.version(Deadline(60.0))
            with tempfile.TemporaryDirectory(prefix="rayjobs-") as directory:
                environ = await _environ(connection, Path(directory))
                if command:
                    return await _run_command(command, environ)
                await _hold(environ)
        return 0

    try:
        code = run(main)
    except Interrupted as caught:
        if caught.exit_code == 143:
            raise
        say("Closed.")
        code = 0
    raise SystemExit(code)


forward_command.epilog = TARGET_HELP


async def _environ(connection: Connection, directory: Path) -> dict[str, str]:
    """What the stock client needs to reach the same Ray."""
    from ..connection import write_private

    environ = {"RAY_ADDRESS": connection.url, "RAY_API_SERVER_ADDRESS": connection.url}
    token = await connection.read_token()
    if token is None:
        return {**environ, "RAY_AUTH_MODE": "disabled"}
    write_private(directory / "token", token)
    return {**environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(directory / "token")}


async def _hold(environ: dict[str, str]) -> None:
    import asyncio

    for name, value in environ.items():
        click.echo(f"export {name}={value}")
    say(f"The dashboard is at {environ['RAY_ADDRESS']}; Ctrl-C closes the tunnel.")
    await asyncio.Event().wait()


async def _run_command(command: tuple[str, ...], environ: dict[str, str]) -> int:
    import asyncio

    from ..errors import Refused

    inherited = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_TOKEN"}
    try:
        process = await asyncio.create_subprocess_exec(*command, env={**inherited, **environ})
    except OSError as error:
        raise Refused(f"{command[0]!r} cannot be run: {error.strerror}.", "Check the command after `--`.") from None
    try:
        code = await process.wait()
    except asyncio.CancelledError:
        # Ctrl-C reached the command too, SIGTERM did not; either way its own end is waited for.
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            await process.wait()
        raise
    return code if code >= 0 else 128 - code


@click.command("local")
@click.argument("action", type=click.Choice(["start", "stop", "status"]))
def local_command(action: str) -> None:
    """Start, stop or show the Ray that --local uses. It is started on first use and stays until it is stopped.

    \b
    Examples:
      jobs submit --local -- python script.py       starts it if need be
      jobs local status
      jobs local stop
    """
    from .. import local_ray as local

    if action == "stop":
        click.echo("Stopped." if run(_stop_local) else "There was none.")
        return
    running = run(lambda: local.ensure(say) if action == "start" else local.find())
    if running is None:
        click.echo("Not running.")
        return
    click.echo(f"Running at {running.url} (process {running.pid}, token in {running.token_file}).")


async def _stop_local() -> bool:
    from .. import local_ray as local

    return await local.stop()
