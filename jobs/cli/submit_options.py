"""The options of `submit` and `rerun`, each group as one object."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..errors import Refused
from ..spec.shown import visible
from .help import option
from .options import Decorator, add_options

if TYPE_CHECKING:
    from ..retries import RetryPolicy
    from ..spec.job_spec import JobFields, JobRequest

F = TypeVar("F", bound=Callable[..., Any])
_WRITE_JSON_OBJECT = "Write it like '{\"name\": ...}'."


def _option_group(parameter: str, group: type, options: Sequence[Decorator]) -> Callable[[F], F]:
    """Adds options; the command gets them as one argument, an object of `group`, whose fields are the options."""

    def decorate(command: F) -> F:
        @functools.wraps(command)
        def wrapper(**values: Any) -> Any:
            grouped = {field.name: values.pop(field.name) for field in fields(group)}
            return command(**values, **{parameter: group(**grouped)})

        return add_options(wrapper, options)  # type: ignore[return-value]

    return decorate


@dataclass(frozen=True)
class JobFlags:
    """The job: its id, directory, runtime environment, metadata and resources."""

    submission_id: str | None = None
    key: str | None = None
    working_dir: str | None = None
    runtime_env: str | None = None
    runtime_env_json: str | None = None
    env: tuple[str, ...] = ()
    metadata_json: str | None = None
    entrypoint_num_cpus: float | None = None
    entrypoint_num_gpus: float | None = None
    entrypoint_memory: int | None = None
    entrypoint_resources: str | None = None
    entrypoint_label_selector: str | None = None

    def given(self) -> list[str]:
        """Returns the flags that are set."""
        return [
            f"--{field.name.replace('_', '-')}" for field in fields(self) if getattr(self, field.name) != field.default
        ]

    def fields(self) -> JobFields:
        """Returns the fields of the job. Raises Refused, which names the flag."""
        return {
            "working_dir": self.working_dir,
            "runtime_env": self.read_runtime_env(),
            "metadata": json_object(self.metadata_json, "--metadata-json"),
            "entrypoint_num_cpus": self.entrypoint_num_cpus,
            "entrypoint_num_gpus": self.entrypoint_num_gpus,
            "entrypoint_memory": self.entrypoint_memory,
            "entrypoint_resources": json_object(self.entrypoint_resources, "--entrypoint-resources"),
            "entrypoint_label_selector": json_object(self.entrypoint_label_selector, "--entrypoint-label-selector"),
        }

    def request(self, entrypoint: str) -> JobRequest:
        """Returns the request for the job. Raises Refused, which names the flag."""
        from ..spec.job_spec import JobRequest, JobSpec

        return JobRequest(JobSpec.from_fields(entrypoint, **self.fields()), self.submission_id, self.key)

    def read_runtime_env(self) -> dict[str, Any]:
        """Reads the runtime_env of --runtime-env (a YAML file) or --runtime-env-json, with --env. Raises Refused."""
        if self.runtime_env is not None and self.runtime_env_json is not None:
            raise Refused("--runtime-env and --runtime-env-json both set the runtime_env.", "Use one of them.")
        if self.runtime_env is None:
            runtime_env = json_object(self.runtime_env_json, "--runtime-env-json")
        else:
            runtime_env = _yaml_object(self.runtime_env, "--runtime-env")
        env_vars = runtime_env.get("env_vars") or {}
        if self.env and isinstance(env_vars, dict):  # Any other value is refused with the rest of the runtime_env.
            runtime_env["env_vars"] = {**env_vars, **_variables(self.env)}
        return runtime_env


_job = functools.partial(option, section="Job options")
job_flags = _option_group(
    "job",
    JobFlags,
    (
        _job("--submission-id", metavar="ID", help="Id of the job; submitting it again attaches to the job."),
        _job("--key", metavar="TEXT", help="Derive the id from this text: the same key is the same job."),
        _job("--working-dir", metavar="DIR|URI", help="Directory the job runs in; uploaded if the server lacks it."),
        _job("--runtime-env", metavar="FILE", help="runtime_env as a YAML file."),
        _job("--runtime-env-json", metavar="JSON", help="runtime_env as JSON."),
        _job(
            "--env",
            multiple=True,
            metavar="NAME[=VALUE]",
            help="Environment variable of the job (repeatable). It replaces one of the runtime_env. Without a value: "
            "the value that it has here.",
        ),
        _job("--metadata-json", metavar="JSON", help="Metadata, as a JSON object of strings."),
        _job("--entrypoint-num-cpus", type=float, metavar="N", help="CPUs to reserve for the entrypoint."),
        _job("--entrypoint-num-gpus", type=float, metavar="N", help="GPUs to reserve for the entrypoint."),
        _job("--entrypoint-memory", type=int, metavar="BYTES", help="Memory to reserve for the entrypoint."),
        _job("--entrypoint-resources", metavar="JSON", help="Custom resources to reserve, as a JSON object."),
        _job("--entrypoint-label-selector", metavar="JSON", help="Labels that its node must have, as a JSON object."),
    ),
)


@dataclass(frozen=True)
class RunFlags:
    """How a submission is followed. Times are in seconds; None means no limit.

    `patience` and `output` are the options that other commands have too: a command adds them by itself.
    """

    no_wait: bool = False
    queue_timeout: float | None = None
    start_timeout: float | None = None
    timeout: float | None = None
    submit_timeout: float = 120.0
    stop_on_interrupt: bool = False
    patience: float = 300.0
    output: str = "text"


_run = functools.partial(option, section="Run options")
_seconds = functools.partial(_run, type=click.FloatRange(min=0), metavar="SECONDS")
run_flags = _option_group(
    "run",
    RunFlags,
    (
        _run("--no-wait", is_flag=True, help="Return when the job is accepted; print its id to stdout."),
        _seconds("--queue-timeout", help="Stop the job if it is PENDING for longer."),
        _seconds(
            "--start-timeout",
            help="Stop the job if it is not RUNNING within this many seconds of the command's start. "
            "The upload counts.",
        ),
        _seconds("--timeout", help="Stop the job if it runs for longer."),
        _run(
            "--submit-timeout",
            type=click.FloatRange(min=1),
            default=120.0,
            metavar="SECONDS",
            help="How long the server may take to accept the job (default 120).",
        ),
        _run("--stop-on-interrupt", is_flag=True, help="Ctrl-C and SIGTERM stop the job instead of detaching."),
    ),
)


@dataclass(frozen=True)
class RetryFlags:
    """When a job that did not succeed is tried again."""

    retries: int = 0
    retry_on: str | None = None

    def policy(self) -> RetryPolicy:
        """Returns the policy that the flags describe. Raises Refused."""
        from ..retries import RetryPolicy

        words = [word.strip().lower() for word in (self.retry_on or "").split(",") if word.strip()]
        codes = [word for word in words if word != "lost"]
        if not all(code.isdigit() and 0 < int(code) < 256 for code in codes):
            raise Refused(
                f"--retry-on {self.retry_on!r} is not a list of exit codes.",
                "Allowed: exit codes from 1 to 255 and `lost`, such as 75,137,lost.",
            )
        if words and not self.retries:
            raise Refused("--retry-on has no effect without --retries.", "Add the number of retries: --retries 3.")
        return RetryPolicy(self.retries, frozenset(map(int, codes)), "lost" in words)


_retry = functools.partial(option, section="Retry options")
retry_flags = _option_group(
    "retry",
    RetryFlags,
    (
        _retry(
            "--retries",
            type=click.IntRange(min=0),
            default=0,
            metavar="N",
            help="Further attempts if the cluster failed the job (default 0).",
        ),
        _retry(
            "--retry-on",
            metavar="CODES",
            help="Also after these exit codes of the driver, and `lost`: 75,137,lost.",
        ),
    ),
)


@dataclass(frozen=True)
class BatchFlags:
    """Many jobs from one command."""

    file: str | None = None
    sweep: tuple[str, ...] = ()
    batch: str | None = None
    concurrency: int | None = None
    resume: bool = False

    @property
    def many(self) -> bool:
        """Whether the command submits many jobs."""
        return bool(self.file or self.sweep)

    def check_one_job(self) -> None:
        """Raises Refused for options that only many jobs can have."""
        unused = [f"--{name}" for name in ("batch", "concurrency", "resume") if getattr(self, name)]
        if unused:
            raise Refused(f"{', '.join(unused)} has no effect on a single job.", "Use it with --file or --sweep.")


_batch = functools.partial(option, section="Batch options")
batch_flags = _option_group(
    "batch",
    BatchFlags,
    (
        _batch("--file", metavar="FILE", help="Submit the jobs of this YAML file (docs/jobs-many.md)."),
        _batch(
            "--sweep",
            multiple=True,
            metavar="NAME=VALUES",
            help="Submit a job for each value, such as lr=1e-3,1e-4 or seed=0..9, in the place of {lr} or {seed}.",
        ),
        _batch("--batch", metavar="NAME", help="Name of the batch; the ids of its jobs begin with it."),
        _batch("--concurrency", type=click.IntRange(min=1), metavar="N", help="Jobs at a time (default 8)."),
        _batch("--resume", is_flag=True, help="Continue a batch that was submitted before."),
    ),
)

_upload = functools.partial(option, section="Upload options")
plan_option = _upload("--plan", is_flag=True, help="Show what would be uploaded; send nothing.")
no_cache_option = _upload("--no-cache", is_flag=True, help="Read every file of the working directory again.")


def json_object(text: str | None, flag: str) -> dict[str, Any]:
    """Reads the JSON object in a flag's text, empty if there is no text. Raises Refused."""
    if not text:
        return {}
    try:
        value = json.loads(text)
    except ValueError as error:
        raise Refused(f"{flag} is not JSON: {error}.", _WRITE_JSON_OBJECT) from None
    if not isinstance(value, dict):
        raise Refused(f"{flag} must be a JSON object, not {type(value).__name__}.", _WRITE_JSON_OBJECT)
    return value


def _variables(texts: Sequence[str]) -> dict[str, str]:
    """Returns the environment variables of --env by name. Raises Refused."""
    variables = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name:
            raise Refused("--env has a value without a name.", "Write it like --env NAME=VALUE or --env NAME.")
        if not equals and name not in os.environ:
            raise Refused(
                f"--env {visible(name)}: this variable is not set here.", "Set it, or write --env NAME=VALUE."
            )
        variables[name] = value if equals else os.environ[name]
    return variables


def _yaml_object(path: str, flag: str) -> dict[str, Any]:
    """Reads the mapping in a YAML file, empty if the file is. Raises Refused."""
    from ..yaml_file import NotYaml, read_yaml

    try:
        value = read_yaml(Path(path))
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{flag}: could not read {path}: {error}.") from None
    except NotYaml as error:
        raise Refused(f"{flag}: {path} {error}.") from None
    if value is not None and not isinstance(value, dict):
        raise Refused(f"{flag}: {path} must contain a mapping, not {type(value).__name__}.")
    return value or {}
