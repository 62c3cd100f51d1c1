"""Runs many jobs from submission to exit code: `submit --file` and `submit --sweep`."""

from __future__ import annotations

import asyncio
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import click

from ..activity import activity
from ..batch import jobs_file, sweep
from ..batch.jobs_file import Batch
from ..batch.prepare import prepare_batch
from ..batch.run import BatchItem, BatchOptions, BatchRun
from ..errors import Interrupted, Refused, number_of, worst_exit_code
from ..packages import own_output_notice
from ..retries import RetryPolicy
from ..session import open_session
from ..target.options import TargetOptions
from ..target.resolve import resolve
from .batch_view import JsonLines, Lines, LiveTable, View, counts_text, end_as_json
from .output import end_text, notify, print_error, print_json_line
from .runner import pending_explained, run
from .status_line import STATUS_LINE
from .submit_options import BatchFlags, JobFlags, RunFlags
from .terminal import at_terminal

DEFAULT_CONCURRENCY = 8
# How many failed jobs are named at the end, and how many likely secrets before an upload.
NAMED_FAILURES, NAMED_SECRETS = 10, 3


def read_batch(words: tuple[str, ...], job: JobFlags, options: BatchFlags) -> Batch:
    """Reads the jobs of --file, or of --sweep and the command line. Raises Refused."""
    swept = sweep.parse(options.sweep)
    if options.file is not None:
        if words:
            raise Refused("--file and an entrypoint both say what to run.", "Use one of them.")
        if flags := job.given():
            raise Refused(
                f"--file and {', '.join(flags)} cannot be used together.", "Write it under `defaults` of the file."
            )
        batch = jobs_file.from_file(Path(options.file), swept)
    else:
        if not words:
            raise Refused("There is no entrypoint.", "Write the command to run after `--`, with {name} for a sweep.")
        if job.submission_id or job.key:
            raise Refused("--submission-id and --key name one job, but a sweep is many jobs.", "Use --batch NAME.")
        batch = jobs_file.from_sweep(words, job.fields(), swept)
    return batch if options.batch is None else replace(batch, name=options.batch)


def submit_and_follow_batch(
    batch: Batch,
    target_options: TargetOptions,
    options: RunFlags,
    batch_flags: BatchFlags,
    policy: RetryPolicy,
    *,
    use_cache: bool,
) -> None:
    """Runs the batch and exits with the worst exit code of its jobs."""
    run_options = _run_options(batch, options, batch_flags, policy)
    target = resolve(target_options, notify=notify)
    runs: list[BatchRun] = []  # Filled when the connection is open; an interrupt reports what it holds.

    async def main() -> list[BatchItem]:
        prepared = await prepare_batch(batch, use_cache=use_cache, ledger=target_options.ledger)
        if notice := own_output_notice(prepared.plans.values()):
            notify(notice)
        secrets = [secret for plan in prepared.plans.values() for secret in plan.secrets]
        _warn_of_secrets([f"{secret.relpath} {secret.why}" for secret in secrets])
        # A view shows the states of jobs by itself.
        notify_of_jobs = _silent if options.output == "json" or at_terminal(sys.stderr) else notify
        async with open_session(
            target,
            ledger=target_options.ledger,
            notify=notify,
            notify_of_jobs=notify_of_jobs,
            patience=options.patience,
        ) as session:
            running = BatchRun(session, prepared, run_options)
            runs.append(running)
            notify(
                f"Batch {prepared.name}: {number_of(len(prepared.jobs), 'job')}, {run_options.concurrency} at a time."
            )
            view = _view(running, options.output)
            # Only the table has a place for the reasons.
            async with pending_explained(session) if isinstance(view, LiveTable) else nullcontext():
                return await _follow(running, view, options.stop_on_interrupt)

    try:
        items = run(main)
    except Interrupted as interrupted:
        raise _explain(interrupted, runs, options.stop_on_interrupt) from None
    raise SystemExit(_report(items, str(runs[0].batch.name), options))


def _silent(_text: str) -> None:
    pass


def _run_options(batch: Batch, options: RunFlags, batch_flags: BatchFlags, policy: RetryPolicy) -> BatchOptions:
    return BatchOptions(
        concurrency=batch_flags.concurrency or batch.concurrency or DEFAULT_CONCURRENCY,
        resume=batch_flags.resume,
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


async def _follow(running: BatchRun, view: View, stop_on_interrupt: bool) -> list[BatchItem]:
    try:
        with activity(f"Batch {running.batch.name}", total=len(running.batch.jobs), unit="jobs") as progress, view:

            def changed(item: BatchItem) -> None:
                progress.done = sum(each.done for each in running.items)
                view.changed(item)

            running.on_change = changed
            return await running.run()
    except asyncio.CancelledError:
        if stop_on_interrupt:
            notify("Interrupted: stopping the jobs of the batch.")
            await asyncio.shield(running.stop_all())
        raise


def _view(running: BatchRun, output: str) -> View:
    name = str(running.batch.name)
    if output == "json":
        return JsonLines(name, print_json_line)
    if at_terminal(sys.stderr) and not STATUS_LINE.quiet:
        return LiveTable(name, lambda: running.items)
    return Lines(notify)


def _report(items: list[BatchItem], name: str, options: RunFlags) -> int:
    """Prints how the batch ended and returns its exit code."""
    code = worst_exit_code([item.exit_code for item in items if item.exit_code is not None] or [0])
    if options.output == "json":
        print_json_line(end_as_json(items, name, code))
        return code
    if options.no_wait:
        for item in items:
            click.echo(item.submission_id)
    notify(f"Batch {name}: {counts_text(items)}.")
    for item in [each for each in items if each.exit_code][:NAMED_FAILURES]:
        print_error(f"  {_failure(item)}")
    return code


def _failure(item: BatchItem) -> str:
    if item.error is not None:
        return f"Job {item.submission_id}: {item.error}"
    assert item.result is not None
    return end_text(item.result)


def _explain(interrupted: Interrupted, runs: list[BatchRun], stopped: bool) -> Interrupted:
    """Returns the interrupt with the state of the jobs."""
    if not runs or not runs[0].items:
        return Interrupted("Interrupted; nothing was submitted.", terminated=interrupted.terminated)
    outcome = "its jobs were asked to stop" if stopped else "the submitted jobs keep running"
    return Interrupted(
        f"Interrupted; {outcome} ({counts_text(runs[0].items)}).",
        f"The same command with --resume --batch {runs[0].batch.name} continues the batch.",
        terminated=interrupted.terminated,
    )
