"""What the commands share: the target's flags, output, signals, and errors as exit codes."""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..errors import EXIT_INTERRUPTED, EXIT_REFUSED, EXIT_TERMINATED, Interrupted, JobsError

if TYPE_CHECKING:
    from ..ledger.recorder import Recorder
    from ..session import Session
    from ..target.resolve import Options, Target

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

TARGET_HELP = """
\b
Where it goes, first match:
  --local              a Ray of the project's own on this machine
  --address URL        an Ingress, a service's name in a pod, any Ray
  --outputs FILE       an outputs file (`make outputs` writes one)
  --stack NAME         a stack of the Pulumi project around here
  $RAYJOBS_OUTPUTS     an outputs file, from the environment
  (nothing)            the selected stack of the Pulumi project around here
  ~/.config/rayjobs/outputs.json
RAY_ADDRESS and RAY_API_SERVER_ADDRESS are never used.
"""

ANSWER_HELP = """
\b
Exit codes: 0 answered, 2 refused input or unknown job, 6 unreachable or not allowed.
"""

STOP_HELP = """
\b
Exit codes: 0 ended or asked to stop, 2 unknown job, 5 still there when --timeout passed, 6 unreachable.
"""

EXIT_HELP = """
\b
Exit codes: 0 succeeded, 1 failed, 2 refused input, 3 stopped, 4 lost,
5 a deadline passed, 6 unreachable or not allowed, 130 Ctrl-C, 143 SIGTERM.
"""

_TARGET_OPTIONS = (
    click.option("--address", metavar="URL", help="Jobs API at this URL instead of a cluster of the stack."),
    click.option("--outputs", metavar="FILE", help="Outputs file that names the clusters."),
    click.option("--stack", metavar="NAME", help="Stack of the Pulumi project; the selection is not changed."),
    click.option("--cluster", metavar="NAME", help="Which RayCluster, where there are several."),
    click.option("--local", is_flag=True, help="A Ray on this machine, started on first use."),
    click.option("--context", metavar="NAME", help="Kube context, where it has another name than in the stack."),
    click.option("--kubeconfig", metavar="FILE", help="Kubeconfig instead of the stack's or KUBECONFIG."),
    click.option("--token-file", metavar="FILE", help="With --address: file with the token."),
    click.option(
        "--verify", metavar="BOOL|FILE", default="true", help="TLS with --address: true, false, or a CA file."
    ),
    click.option("--headers", metavar="JSON", help="Headers to send along, as a JSON object."),
    click.option("--ledger", metavar="FILE", help="Ledger to keep (else RAYJOBS_LEDGER, else a file of this user's)."),
    click.option("--allow-unauthenticated", is_flag=True, help="Accept a remote --address without any token."),
)


_NAMES = [
    "address", "outputs", "stack", "cluster", "local", "context", "kubeconfig", "token_file",
    "allow_unauthenticated", "ledger",
]  # fmt: skip


def target_options(command: F) -> F:
    """Adds the target's flags; the command gets one argument `target_options` (jobs.target.Options)."""

    @functools.wraps(command)
    def wrapper(**values: Any) -> Any:
        from ..target.resolve import Options, parse_headers

        verify = values.pop("verify")
        chosen = {name: values.pop(name) for name in _NAMES}
        options = Options(
            **chosen,
            headers=parse_headers(values.pop("headers"), "--headers"),
            verify={"true": True, "1": True, "false": False, "0": False}.get(verify.lower(), verify),
        )
        return command(target_options=options, **values)

    for option in reversed(_TARGET_OPTIONS):
        wrapper = option(wrapper)
    return wrapper  # type: ignore[return-value]


def output_option(command: F) -> F:
    return click.option(
        "--output", type=click.Choice(["text", "json"]), default="text", help="Text for people, or JSON on stdout."
    )(command)


def patience_option(command: F) -> F:
    return click.option(
        "--patience",
        type=click.FloatRange(min=1),
        default=300.0,
        metavar="SECONDS",
        help="How long to keep trying without any answer (default 300).",
    )(command)


def say(text: str) -> None:
    """A line of the client's own, to stderr, grey for a person at a terminal."""
    if sys.stderr.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb":
        text = click.style(text, dim=True)
    click.echo(text, err=True, color=True)


def complain(text: str) -> None:
    """An error, to stderr."""
    if sys.stderr.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb":
        text = click.style(text, fg="red")
    click.echo(text, err=True, color=True)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def write_bytes(data: bytes) -> None:
    """The job's bytes, as they are, at once."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def write_bytes_aside(data: bytes) -> None:
    """The job's bytes where stdout is for JSON."""
    sys.stderr.buffer.write(data)
    sys.stderr.buffer.flush()


def run(main: Callable[[], Awaitable[T]]) -> T:
    """Runs `main` in an event loop; Ctrl-C and SIGTERM cancel it and are raised as Interrupted.

    `main` may do a last thing when it is cancelled (stop a job); another signal cancels that too.
    """
    import asyncio

    received: list[int] = []

    async def body() -> T:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(main())

        def interrupt(number: int) -> None:
            received.append(number)
            task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, interrupt, number)
        return await task

    try:
        return asyncio.run(body())
    except asyncio.CancelledError:
        terminated = bool(received) and received[0] == signal.SIGTERM
        raise Interrupted("Interrupted.", terminated=terminated) from None


def with_session(
    options: Options,
    work: Callable[[Session], Awaitable[T]],
    *,
    patience: float = 300.0,
    record: bool = True,
) -> T:
    """Opens the target, gives a session to `work`, closes everything. `record`: what is seen goes into the ledger."""
    from ..connection import connect
    from ..session import Session
    from ..target.resolve import resolve

    target = resolve(options, note=say)

    async def main() -> T:
        async with connect(target, note=say) as connection:
            recorder = recorder_of(target, connection.identity, options) if record else None
            return await work(Session(connection, note=say, patience=patience, recorder=recorder))

    return run(main)


def recorder_of(target: Target, identity: str, options: Options) -> Recorder:
    """Writes what this command sees into the user's ledger."""
    from pathlib import Path

    from ..ledger.recorder import Recorder, place_of
    from ..ledger.store import Ledger

    ledger = Ledger(None if options.ledger is None else Path(options.ledger).expanduser(), say)
    return Recorder(ledger, place_of(target, identity))


def report(error: BaseException) -> int:
    """Says what went wrong and returns the exit code that it stands for."""
    if isinstance(error, JobsError):
        complain(f"Error: {error}" if not isinstance(error, Interrupted) else str(error))
        return error.exit_code
    if isinstance(error, KeyboardInterrupt | click.exceptions.Abort):
        complain("Interrupted.")
        return EXIT_INTERRUPTED
    if isinstance(error, click.ClickException):
        error.show()
        return EXIT_REFUSED
    raise error


def on_sigterm(_number: int, _frame: object) -> None:
    """Before there is an event loop."""
    raise SystemExit(EXIT_TERMINATED)
