"""Many jobs from submission to exit code: `submit --file` and `submit --sweep`."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import click

from ..batch import jobs_file, sweep
from ..batch.jobs_file import Batch
from ..batch.prepare import plan_packages
from ..batch.run import BatchRun, Track
from ..batch.run import Options as BatchRunOptions
from ..errors import Interrupted, Refused, worst_exit_code
from ..retries import RetryPolicy
from ..target.resolve import Options, resolve
from .batch_view import JsonLines, Lines, LiveTable, View, counts_text, end_as_json
from .output import notify, print_error, result_text
from .run import open_recorder, open_session, run
from .submit_options import BatchOptions, JobFlags, RunOptions

DEFAULT_CONCURRENCY = 8
# How many failed jobs are named at the end, and how many likely secrets before an upload.
NAMED_FAILURES, NAMED_SECRETS = 10, 3


def read_batch(words: tuple[str, ...], job: JobFlags, options: BatchOptions) -> Batch:
    """The jobs of --file, or of --sweep and the command line. Raises Refused."""
    swept = sweep.parse(options.sweep)
    if options.file is not None:
        if words:
            raise Refused("--file and an entrypoint both say what to run.", "Use one of them.")
        batch = jobs_file.from_file(Path(options.file), swept)
    else:
        request = job.request("(by the sweep)")
        if not words:
            raise Refused("There is no entrypoint.", "Write the command to run after `--`, with {name} for a sweep.")
        if request.submission_id or request.key:
            raise Refused("--submission-id and --key name one job, but a sweep is many jobs.", "Use --batch NAME.")
        batch = jobs_file.from_sweep(words, request, swept)
    return batch if options.batch is None else replace(batch, name=options.batch)


def submit_and_follow_batch(
    batch: Batch,
    target_options: Options,
    options: RunOptions,
    batch_options: BatchOptions,
    policy: RetryPolicy,
    *,
    use_cache: bool,
) -> None:
    """Runs the batch and exits with the worst exit code of its jobs."""
    run_options = _run_options(batch, options, batch_options, policy)
    target = resolve(target_options, note=notify)
    runs: list[BatchRun] = []  # Filled when the connection is open; an interrupt reports what it holds.

    async def main() -> list[Track]:
        named, plans = await plan_packages(batch, use_cache=use_cache)
        _warn_of_secrets([f"{secret.relpath} {secret.why}" for plan in plans.values() for secret in plan.secrets])
        # A view shows the states of jobs by itself.
        note = _silent if options.output == "json" or sys.stderr.isatty() else notify
        async with open_session(target, target_options, patience=options.patience, note=note, record=False) as session:
            recorder = open_recorder(target, session.connection.identity, target_options)
            running = BatchRun(session, named, plans, run_options, recorder)
            runs.append(running)
            notify(f"Batch {named.name}: {len(named.jobs)} jobs, {run_options.concurrency} at a time.")
            return await _follow(running, _view(running, options.output), options.stop_on_interrupt)

    try:
        tracks = run(main)
    except Interrupted as interrupted:
        raise _explain(interrupted, runs, options.stop_on_interrupt) from None
    raise SystemExit(_report(tracks, str(runs[0].batch.name), options))


def _silent(_text: str) -> None:
    pass


def _run_options(
    batch: Batch, options: RunOptions, batch_options: BatchOptions, policy: RetryPolicy
) -> BatchRunOptions:
    return BatchRunOptions(
        concurrency=batch_options.concurrency or batch.concurrency or DEFAULT_CONCURRENCY,
        resume=batch_options.resume,
        wait=not options.no_wait,
        policy=policy,
        queue_seconds=options.queue_timeout,
        start_seconds=options.start_timeout,
        run_seconds=options.timeout,
        submit_seconds=options.submit_timeout,
    )


def _warn_of_secrets(secrets: list[str]) -> None:
    if secrets:
        shown = "; ".join(secrets[:NAMED_SECRETS]) + ("; ..." if len(secrets) > NAMED_SECRETS else "")
        notify(f"Likely secrets will be uploaded: {shown}. --plan lists them all.")


async def _follow(running: BatchRun, view: View, stop_on_interrupt: bool) -> list[Track]:
    running.on_change = view.changed
    try:
        with view:
            return await running.run()
    except asyncio.CancelledError:
        if stop_on_interrupt:
            notify("Interrupted: stopping the jobs of the batch.")
            await asyncio.shield(running.stop_all())
        raise


def _view(running: BatchRun, output: str) -> View:
    name = str(running.batch.name)
    if output == "json":
        return JsonLines(name, click.echo)
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        return LiveTable(name, lambda: running.tracks)
    return Lines(notify)


def _report(tracks: list[Track], name: str, options: RunOptions) -> int:
    """Prints how the batch ended and returns its exit code."""
    code = worst_exit_code([track.exit_code for track in tracks if track.exit_code is not None] or [0])
    if options.output == "json":
        click.echo(json.dumps(end_as_json(tracks, name, code)))
        return code
    if options.no_wait:
        for track in tracks:
            click.echo(track.submission_id)
    notify(f"Batch {name}: {counts_text(tracks)}.")
    for track in [each for each in tracks if each.exit_code][:NAMED_FAILURES]:
        print_error(f"  {track.submission_id}: {_reason(track)}")
    return code


def _reason(track: Track) -> str:
    if track.error is not None:
        return str(track.error)
    assert track.result is not None
    return result_text(track.result)


def _explain(interrupted: Interrupted, runs: list[BatchRun], stopped: bool) -> Interrupted:
    """The interrupt with what became of the jobs."""
    if not runs or not runs[0].tracks:
        return Interrupted("Interrupted; nothing was submitted.", terminated=interrupted.terminated)
    outcome = "its jobs were asked to stop" if stopped else "the submitted jobs keep running"
    return Interrupted(
        f"Interrupted; {outcome} ({counts_text(runs[0].tracks)}).",
        f"The same command with --resume --batch {runs[0].batch.name} continues the batch.",
        terminated=interrupted.terminated,
    )
