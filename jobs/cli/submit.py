"""`submit`: one job, or many."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from ..errors import Refused, command
from .follow_job import submit_and_follow
from .help import RESULT_HELP, TARGET_HELP, Command, files
from .options import output_option, patience_option, target_options
from .submit_options import (
    BatchFlags,
    JobFlags,
    RetryFlags,
    RunFlags,
    batch_flags,
    job_flags,
    no_cache_option,
    plan_option,
    retry_flags,
    run_flags,
)

if TYPE_CHECKING:
    from ..submit import PreparedJob
    from ..target.options import TargetOptions


@click.command(
    "submit",
    cls=Command,
    epilog=TARGET_HELP + RESULT_HELP,
    context_settings={"allow_interspersed_args": False},
)
@job_flags
@plan_option
@no_cache_option
@run_flags
@retry_flags
@batch_flags
@patience_option
@output_option
@target_options
@click.argument("entrypoint", nargs=-1, type=click.UNPROCESSED, shell_complete=files)
def submit_command(
    entrypoint: tuple[str, ...],
    plan: bool,
    no_cache: bool,
    job: JobFlags,
    run: RunFlags,
    retry: RetryFlags,
    batch: BatchFlags,
    target_options: TargetOptions,
) -> None:
    """Submit a job, follow its log until the job ends, and exit with its result.

    The entrypoint follows `--` and arrives as typed: several words keep their quoting, one word is a shell line.

    \b
    Examples:
      rayjobs submit -- python -c "import ray; ray.init(); print(ray.cluster_resources())"
      rayjobs submit --working-dir . -- python train.py --name "two words"
      rayjobs submit --working-dir . --plan                            what would be uploaded
      rayjobs submit --working-dir . --no-wait -- python train.py      prints the id
      rayjobs submit --env API_KEY --env MODE=full -- python train.py  API_KEY as it is in this shell
      rayjobs submit --key nightly-2026-11-23 -- python nightly.py     one job, also if this command runs again
      rayjobs submit --entrypoint-num-gpus 1 --queue-timeout 600 --timeout 7200 -- python train.py
      rayjobs submit --retries 3 --retry-on 75 -- python train.py      again after a cluster failure or exit code 75
      rayjobs submit --sweep lr=1e-3,1e-4 --sweep seed=0..9 -- python train.py --lr {lr} --seed {seed}
      rayjobs submit --file jobs.yaml --concurrency 20                 many jobs, one exit code
      rayjobs submit -- 'python a.py && python b.py'                   one shell line

    A job is submitted exactly once: after a lost answer or a dropped connection, the client checks whether the job
    exists, and attaches to it. With --submission-id or --key, the same command can be repeated; different content under
    the same id is refused. Ctrl-C leaves the job running and prints how to follow it again.
    """
    use_cache = not no_cache
    if batch.many:
        from .run_batch import read_batch, submit_and_follow_batch

        jobs = read_batch(entrypoint, job, batch)
        if plan:
            from .upload_plan import print_batch_plans

            print_batch_plans(jobs, use_cache=use_cache, ledger=target_options.ledger, output=run.output)
            return
        submit_and_follow_batch(jobs, target_options, run, batch, retry.policy(), use_cache=use_cache)
    elif plan:
        from .upload_plan import print_plan

        print_plan(job.fields(), use_cache=use_cache, ledger=target_options.ledger, output=run.output)
    else:
        batch.check_one_job()
        request = job.request(join_words(entrypoint))

        async def prepare_job() -> PreparedJob:
            from ..submit import prepare

            return await prepare(request, use_cache=use_cache, ledger=target_options.ledger)

        submit_and_follow(target_options, prepare_job, run, retry.policy())


def join_words(words: tuple[str, ...]) -> str:
    """Returns the shell line that runs these words as typed; a single word is a shell line itself. Raises Refused."""
    if not words:
        raise Refused(
            "There is no entrypoint.",
            f"Write the command to run after `--`, such as {command('submit -- python script.py')}.",
        )
    return words[0] if len(words) == 1 else shlex.join(words)
