"""The submit command."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobs.cli_jobs import conclude, detached, summary
from jobs.cli_options import (
    EXIT_HELP,
    TARGET_HELP,
    output_option,
    patience_option,
    print_json,
    recorder_of,
    run,
    say,
    target_options,
    write_bytes,
    write_bytes_aside,
)
from jobs.errors import Interrupted, JobsError, Refused

if TYPE_CHECKING:
    from jobs.models import Result
    from jobs.session import Prepared, Session
    from jobs.target import Options


@click.command("submit", context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False})
@click.option("--submission-id", metavar="ID", help="The job's id; submitting it twice attaches to the first.")
@click.option("--key", metavar="TEXT", help="Derive the id from this: the same key is the same job.")
@click.option("--working-dir", metavar="DIR|URI", help="Directory the job runs in; uploaded if the server lacks it.")
@click.option("--runtime-env", metavar="FILE", help="runtime_env as a YAML file.")
@click.option("--runtime-env-json", metavar="JSON", help="runtime_env as JSON.")
@click.option("--metadata-json", metavar="JSON", help="Metadata: a JSON object of strings.")
@click.option("--entrypoint-num-cpus", type=float, metavar="N", help="CPUs to reserve for the entrypoint.")
@click.option("--entrypoint-num-gpus", type=float, metavar="N", help="GPUs to reserve for the entrypoint.")
@click.option("--entrypoint-memory", type=int, metavar="BYTES", help="Memory to reserve for the entrypoint.")
@click.option("--entrypoint-resources", metavar="JSON", help="Custom resources to reserve, as a JSON object.")
@click.option("--entrypoint-label-selector", metavar="JSON", help="Labels of the node for it, as a JSON object.")
@click.option("--no-wait", is_flag=True, help="Return once the job is accepted; its id is printed to stdout.")
@click.option("--queue-timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Stop it if PENDING for longer.")
@click.option(
    "--start-timeout",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Stop it if it does not run this long after the command's start, upload included.",
)
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Stop it if it runs for longer.")
@click.option(
    "--submit-timeout", type=click.FloatRange(min=1), default=120.0, metavar="SECONDS", help="To be accepted."
)
@click.option("--stop-on-interrupt", is_flag=True, help="Ctrl-C and SIGTERM stop the job instead of detaching.")
@click.option("--no-cache", is_flag=True, help="Read every file of the working directory again.")
@patience_option
@output_option
@target_options
@click.argument("entrypoint", nargs=-1, type=click.UNPROCESSED)
def submit_command(**values: Any) -> None:
    """Submit a job, follow its log to the end, and exit by its result.

    The entrypoint comes after `--` and arrives as typed: several words keep their quoting, one word is a shell line.

    \b
    Examples:
      jobs submit -- python -c "import ray; ray.init(); print(ray.cluster_resources())"
      jobs submit --working-dir . -- python train.py --name "two words"
      jobs submit --working-dir . --no-wait -- python train.py      prints the id
      jobs submit --key nightly-2026-11-23 -- python nightly.py     runs once a day, however often it is called
      jobs submit --entrypoint-num-gpus 1 --queue-timeout 600 --timeout 7200 -- python train.py
      jobs submit -- 'python a.py && python b.py'                   one shell line

    A submission happens once: after a lost answer or a dropped connection the client looks whether the job exists and
    attaches. With --submission-id or --key the same command may be repeated; other content under the same id is
    refused. Ctrl-C leaves the job running and says how to attach again.
    """
    submit(**values)


submit_command.epilog = TARGET_HELP + EXIT_HELP


def submit(*, entrypoint: tuple[str, ...], output: str, no_wait: bool, target_options: Options, **values: Any) -> None:
    import asyncio

    from jobs.connection import connect
    from jobs.follow import Limits
    from jobs.session import Request, Session, prepare
    from jobs.target import resolve
    from jobs.transport import Deadline

    start = Deadline(values["start_timeout"])
    request = Request(
        entrypoint=join_words(entrypoint),
        submission_id=values["submission_id"],
        key=values["key"],
        working_dir=values["working_dir"],
        runtime_env=read_runtime_env(values["runtime_env"], values["runtime_env_json"]),
        metadata=json_object(values["metadata_json"], "--metadata-json"),
        entrypoint_num_cpus=values["entrypoint_num_cpus"],
        entrypoint_num_gpus=values["entrypoint_num_gpus"],
        entrypoint_memory=values["entrypoint_memory"],
        entrypoint_resources=json_object(values["entrypoint_resources"], "--entrypoint-resources"),
        entrypoint_label_selector=json_object(values["entrypoint_label_selector"], "--entrypoint-label-selector"),
    )
    target = resolve(target_options, note=say)
    phase = Phase()
    write = write_bytes if output == "text" else write_bytes_aside

    async def main() -> Result | None:
        phase.prepared = prepared = await prepare(request, use_cache=not values["no_cache"])
        async with connect(target, note=say) as connection:
            phase.session = session = Session(
                connection,
                note=say,
                progress=progress_line(),
                patience=values["patience"],
                recorder=recorder_of(target, connection.identity, target_options),
            )
            phase.sending = True
            submission = await session.submit(prepared, deadline=Deadline(values["submit_timeout"]))
            phase.accepted = True
            how = "was there already; attached to it" if submission.attached else "submitted"
            say(f"Job {submission.submission_id}: {how}.")
            if no_wait:
                return None
            limits = Limits(values["queue_timeout"], None if start.seconds is None else start.left, values["timeout"])
            try:
                return await session.run(submission.submission_id, write, limits=limits)
            except asyncio.CancelledError:
                if values["stop_on_interrupt"]:
                    await phase.stop()
                raise

    try:
        result = run(main)
    except Interrupted as caught:
        raise phase.interrupted(caught) from None
    assert phase.prepared is not None
    if result is None:
        submission_id = phase.prepared.submission_id
        if output == "json":
            print_json({"submission_id": submission_id, "spec_sha256": phase.prepared.spec.digest})
        else:
            click.echo(submission_id)
        return
    if output == "json":
        say(f"Job {result.submission_id} ended: {summary(result)}")
        print_json(result.as_json())
        raise SystemExit(result.exit_code)
    conclude(result)


class Phase:
    """How far a submission has come, for whoever interrupts it."""

    def __init__(self) -> None:
        self.prepared: Prepared | None = None
        self.session: Session | None = None
        self.sending = False
        self.accepted = False
        self.stopped = ""

    async def stop(self) -> None:
        assert self.session is not None
        assert self.prepared is not None
        say(f"Interrupted: stopping job {self.prepared.submission_id} (again to leave it).")
        try:
            self.stopped = (await self.session.stop(self.prepared.submission_id)).status
        except JobsError as error:
            say(f"It could not be stopped: {error}")

    def interrupted(self, caught: Interrupted) -> Interrupted:
        terminated = caught.exit_code == 143
        if self.prepared is None or not self.sending:
            return Interrupted("Interrupted; nothing was submitted.", terminated=terminated)
        submission_id = self.prepared.submission_id
        if self.stopped:
            return Interrupted(f"Interrupted; job {submission_id} ended: {self.stopped}.", terminated=terminated)
        if self.accepted:
            return detached(caught, submission_id)
        return Interrupted(
            f"Interrupted while submitting {submission_id}: it may or may not have been accepted.",
            f"`status {submission_id}` tells; the same command with --submission-id {submission_id} cannot start it "
            "twice.",
            terminated=terminated,
        )


def join_words(words: tuple[str, ...]) -> str:
    """The shell line that runs these words as they were typed; a single word is a shell line itself."""
    if not words:
        raise Refused(
            "There is no entrypoint.", "Write the command to run after `--`, e.g. `submit -- python script.py`."
        )
    return words[0] if len(words) == 1 else shlex.join(words)


def json_object(text: str | None, what: str) -> dict[str, Any]:
    if not text:
        return {}
    try:
        found = json.loads(text)
    except ValueError as error:
        raise Refused(f"{what} is not JSON: {error}.", "Write it like '{\"name\": ...}'.") from None
    if not isinstance(found, dict):
        raise Refused(
            f"{what} must be a JSON object, it is {type(found).__name__}.", "Write it like '{\"name\": ...}'."
        )
    return found


def read_runtime_env(path: str | None, text: str | None) -> dict[str, Any]:
    """runtime_env from --runtime-env (YAML) or --runtime-env-json. Errors do not repeat its contents."""
    if path is not None and text is not None:
        raise Refused("--runtime-env and --runtime-env-json both give the runtime_env.", "Give one of them.")
    if path is None:
        return json_object(text, "--runtime-env-json")
    import yaml

    try:
        found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"--runtime-env {path} cannot be read: {error}.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise Refused(f"--runtime-env {path} is not YAML{f' at line {mark.line + 1}' if mark else ''}.") from None
    if found is not None and not isinstance(found, dict):
        raise Refused(f"--runtime-env {path} must hold a mapping, it holds {type(found).__name__}.")
    return found or {}


def progress_line() -> Callable[[int, int], None]:
    """An upload's progress on stderr: a line that is written over at a terminal, a few plain lines otherwise."""
    at_terminal = sys.stderr.isatty()
    last = 0.0

    def progress(sent: int, total: int) -> None:
        nonlocal last
        done, now = sent >= total, time.monotonic()
        if now - last < (0.1 if at_terminal else 5.0) and not (done and at_terminal):
            return
        last = now
        text = f"  {sent / 1024**2:.1f} of {total / 1024**2:.1f} MiB ({100 * sent // max(1, total)} %)"
        click.echo(f"\r{text}" if at_terminal else text, err=True, nl=done or not at_terminal)

    return progress
