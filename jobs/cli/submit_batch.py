"""`submit --file` and `submit --sweep`: many jobs from one command."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..errors import Interrupted, Refused
from .options import complain, recorder_of, run, say

if TYPE_CHECKING:
    from ..batch.jobs_file import Batch
    from ..batch.run import BatchRun, Track
    from ..retries import RetryPolicy
    from ..session import Request
    from ..target.resolve import Options
    from .batch_view import View

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--file", "file", metavar="FILE", help="Submit the jobs of this YAML file (docs/jobs-many.md)."),
    click.option(
        "--sweep", multiple=True, metavar="NAME=VALUES", help="lr=1e-3,1e-4 or seed=0..9; {lr} stands for it."
    ),
    click.option("--batch", metavar="NAME", help="Name of the batch, part of its jobs' ids."),
    click.option("--concurrency", type=click.IntRange(min=1), metavar="N", help="Jobs at a time (default 8)."),
    click.option("--resume", is_flag=True, help="Continue a batch that was submitted before."),
)
_RETRY_OPTIONS = (
    click.option("--retries", type=click.IntRange(min=0), default=0, metavar="N", help="Further attempts, if safe."),
    click.option(
        "--retry-on",
        metavar="CODES",
        help="Also after these exit codes of the driver, and `lost`: 75,137,lost.",
    ),
)


def batch_options(command: F) -> F:
    """Adds --file, --sweep, --batch, --concurrency and --resume."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def retry_options(command: F) -> F:
    """Adds --retries and --retry-on; `retry_policy` reads them."""
    for option in reversed(_RETRY_OPTIONS):
        command = option(command)
    return command


def retry_policy(retries: int, retry_on: str | None) -> RetryPolicy:
    """Raises Refused."""
    from ..retries import RetryPolicy

    words = [word.strip().lower() for word in (retry_on or "").split(",") if word.strip()]
    codes = [word for word in words if word != "lost"]
    if not all(code.isdigit() and 0 < int(code) < 256 for code in codes):
        raise Refused(f"--retry-on {retry_on!r} cannot be used.", "Write exit codes from 1 to 255 and `lost`: 75,137.")
    if words and not retries:
        raise Refused("--retry-on has no meaning without --retries.", "Say how often: --retries 3.")
    return RetryPolicy(retries, frozenset(map(int, codes)), "lost" in words)


def read_batch(
    words: tuple[str, ...],
    request: Request | None,
    *,
    file: str | None,
    sweep: tuple[str, ...],
    batch: str | None,
) -> Batch:
    """The jobs of --file, or of --sweep and the command line. Raises Refused."""
    from ..batch import jobs_file as batches
    from ..batch import sweep as sweeps

    given = sweeps.parse(sweep)
    if file is not None:
        if words:
            raise Refused("--file and an entrypoint both say what to run.", "Give one of them.")
        whole = batches.from_file(Path(file), given)
    else:
        if not words or request is None:
            raise Refused("There is no entrypoint.", "Write the command to run after `--`, with {name} for a sweep.")
        if request.submission_id or request.key:
            raise Refused("--submission-id and --key name one job, and a sweep is many.", "Use --batch NAME.")
        whole = batches.from_sweep(words, request, given)
    return whole if batch is None else replace(whole, name=batch)


def submit_batch(
    *,
    words: tuple[str, ...],
    request: Request | None,
    target_options: Options,
    output: str = "text",
    file: str | None = None,
    sweep: tuple[str, ...] = (),
    batch: str | None = None,
    concurrency: int | None = None,
    resume: bool = False,
    no_wait: bool = False,
    no_cache: bool = False,
    stop_on_interrupt: bool = False,
    retries: int = 0,
    retry_on: str | None = None,
    patience: float = 300.0,
    queue_timeout: float | None = None,
    start_timeout: float | None = None,
    timeout: float | None = None,
    submit_timeout: float = 120.0,
) -> int:
    """Runs the batch and returns its exit code.

    `words` and `request` are the command line's entrypoint and its other flags; with --file both are left out.
    """
    from ..batch.prepare import plan_packages
    from ..batch.run import BatchRun, worst
    from ..batch.run import Options as RunOptions
    from ..connection import connect
    from ..session import Session
    from ..target.resolve import resolve
    from .batch_view import counted, end_as_json

    whole = read_batch(words, request, file=file, sweep=sweep, batch=batch)
    options = RunOptions(
        concurrency=concurrency or whole.concurrency or 8,
        resume=resume,
        wait=not no_wait,
        policy=retry_policy(retries, retry_on),
        queue_seconds=queue_timeout,
        start_seconds=start_timeout,
        run_seconds=timeout,
        submit_seconds=submit_timeout,
    )
    target = resolve(target_options, note=say)
    runs: list[BatchRun] = []

    async def main() -> list[Track]:
        named, plans = await plan_packages(whole, use_cache=not no_cache)
        assert named.name is not None
        suspects = [f"{noted.relpath} {noted.why}" for plan in plans.values() for noted in plan.secrets]
        if suspects:
            say(f"Goes to the cluster: {'; '.join(suspects[:3])}{'; ...' if suspects[3:] else ''} (see --plan).")
        async with connect(target, note=say) as connection:
            quiet = output == "json" or sys.stderr.isatty()
            session = Session(connection, note=(lambda _text: None) if quiet else say, patience=patience)
            recorder = recorder_of(target, connection.identity, target_options)
            running = BatchRun(session, named, plans, options, recorder)
            runs.append(running)
            say(f"Batch {named.name}: {len(named.jobs)} jobs, {options.concurrency} at a time.")
            view = _view(named, running, output)
            running.on_change = view.changed
            try:
                with view:
                    return await running.run()
            except asyncio.CancelledError:
                if stop_on_interrupt:
                    say("Interrupted: stopping the jobs of the batch.")
                    await asyncio.shield(running.stop_all())
                raise

    try:
        tracks = run(main)
    except Interrupted as caught:
        raise _interrupted(caught, runs, stop_on_interrupt) from None
    name = str(runs[0].batch.name)
    codes = [track.exit_code for track in tracks]
    code = worst([each for each in codes if each is not None] or [0])
    if output == "json":
        click.echo(json.dumps(end_as_json(tracks, name, code)))
    else:
        if no_wait:
            for track in tracks:
                click.echo(track.submission_id)
        say(f"Batch {name}: {counted(tracks)}.")
        for track in [each for each in tracks if each.exit_code][:10]:
            complain(f"  {track.submission_id}: {_what(track)}")
    return code


def _view(batch: Batch, running: BatchRun, output: str) -> View:
    from .batch_view import JsonLines, Lines, LiveTable

    if output == "json":
        return JsonLines(str(batch.name), click.echo)
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        return LiveTable(str(batch.name), lambda: running.tracks)
    return Lines(say)


def _what(track: Track) -> str:
    if track.error is not None:
        return str(track.error)
    from .jobs import summary

    assert track.result is not None
    return summary(track.result)


def _interrupted(caught: Interrupted, runs: list[BatchRun], stopped: bool) -> Interrupted:
    terminated = caught.exit_code == 143
    if not runs or not runs[0].tracks:
        return Interrupted("Interrupted; nothing was submitted.", terminated=terminated)
    from .batch_view import counted

    what = "its jobs were asked to stop" if stopped else "what was submitted goes on"
    return Interrupted(
        f"Interrupted; {what} ({counted(runs[0].tracks)}).",
        f"The same command with --resume --batch {runs[0].batch.name} continues it.",
        terminated=terminated,
    )
