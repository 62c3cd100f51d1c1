"""The submit command."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import Refused
from .options import EXIT_HELP, TARGET_HELP, output_option, patience_option, target_options
from .run import run_job, run_options
from .submit_batch import batch_options, read_batch, retry_options, retry_policy, submit_batch

if TYPE_CHECKING:
    from ..session import Prepared, Request
    from ..target.resolve import Options


@click.command("submit", context_settings={"allow_interspersed_args": False})
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
@click.option("--plan", is_flag=True, help="Show what would be uploaded; send nothing.")
@run_options
@retry_options
@batch_options
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
      jobs submit --working-dir . --plan                            what would be uploaded
      jobs submit --working-dir . --no-wait -- python train.py      prints the id
      jobs submit --key nightly-2026-11-23 -- python nightly.py     runs once, however often it is called
      jobs submit --entrypoint-num-gpus 1 --queue-timeout 600 --timeout 7200 -- python train.py
      jobs submit --retries 3 --retry-on 75 -- python train.py      again if the cluster failed it, or it exits with 75
      jobs submit --sweep lr=1e-3,1e-4 --sweep seed=0..9 -- python train.py --lr {lr} --seed {seed}
      jobs submit --file jobs.yaml --concurrency 20                 many jobs, one exit code
      jobs submit -- 'python a.py && python b.py'                   one shell line

    A submission happens once: after a lost answer or a dropped connection the client looks whether the job exists and
    attaches. With --submission-id or --key the same command may be repeated; other content under the same id is
    refused. Ctrl-C leaves the job running and says how to attach again.
    """
    submit(**values)


submit_command.epilog = TARGET_HELP + EXIT_HELP

_BATCH = ("file", "sweep", "batch", "concurrency", "resume")
_RUN = ("no_wait", "queue_timeout", "start_timeout", "timeout", "submit_timeout", "stop_on_interrupt")


def submit(
    *,
    entrypoint: tuple[str, ...],
    plan: bool,
    retries: int,
    retry_on: str | None,
    no_cache: bool,
    patience: float,
    output: str,
    target_options: Options,
    **values: Any,
) -> None:
    batch = {name: values.pop(name) for name in _BATCH}
    running = {name: values.pop(name) for name in _RUN}
    many = bool(batch["file"] or batch["sweep"])
    request_of_many = None if batch["file"] or not many else request_of("(by the sweep)", values)
    if plan and many:
        from .plan import show_plans

        source = {name: batch[name] for name in ("file", "sweep", "batch")}
        show_plans(read_batch(entrypoint, request_of_many, **source), use_cache=not no_cache, output=output)
    elif plan:
        from .plan import show_plan

        runtime_env = read_runtime_env(values["runtime_env"], values["runtime_env_json"])
        working_dir = values["working_dir"] or runtime_env.get("working_dir")
        show_plan(working_dir, runtime_env.get("excludes") or [], use_cache=not no_cache, output=output)
    elif many:
        code = submit_batch(
            words=entrypoint,
            request=request_of_many,
            target_options=target_options,
            output=output,
            no_cache=no_cache,
            retries=retries,
            retry_on=retry_on,
            patience=patience,
            **batch,
            **running,
        )
        raise SystemExit(code)
    else:
        without = [f"--{name}" for name in ("batch", "concurrency", "resume") if batch[name]]
        if without:
            raise Refused(f"{', '.join(without)} has no meaning for one job.", "It goes with --file or --sweep.")
        request = request_of(join_words(entrypoint), values)

        async def prepared() -> Prepared:
            from ..session import prepare

            return await prepare(request, use_cache=not no_cache)

        policy = retry_policy(retries, retry_on)
        run_job(target_options, prepared, policy, output=output, patience=patience, **running)


def request_of(entrypoint: str, values: dict[str, Any]) -> Request:
    """The request that the flags make. Raises Refused, naming the flag."""
    from ..session import Request

    return Request(
        entrypoint=entrypoint,
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
