"""The fields of a job, and the request to submit it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypedDict

from ..errors import Refused, command
from .job_info import DIGEST_KEY, OWN_PREFIX, RESOURCES_KEY, USER_KEY, JobInfo
from .runtime_env import resource_problems, runtime_env_problems
from .shown import SENTENCE_LIMIT, redacted_metadata, shown, visible
from .submission_id import check_submission_id, new_submission_id, submission_id_of_key

if TYPE_CHECKING:
    from typing_extensions import Unpack


def canonical_json(value: Any) -> str:
    """Returns the same text for equal values, for digests."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def is_local_path(value: Any) -> bool:
    """Returns whether a `working_dir` or an entry of `py_modules` is a path of this machine, not a URI."""
    return isinstance(value, str) and bool(value) and "://" not in value


def _module_path(module: Any) -> Any:
    """Returns the path of a module that is given as a Path or is imported, as Ray's own client takes it."""
    if isinstance(module, ModuleType):
        paths = list(getattr(module, "__path__", ())) or [getattr(module, "__file__", None)]
        if len(paths) != 1 or paths[0] is None:
            raise Refused(
                f"py_modules has the module {module.__name__!r}, which is not one directory or file.", "Name its paths."
            )
        return paths[0]
    return str(module) if isinstance(module, Path) else module


class JobFields(TypedDict, total=False):
    """The fields of a job beside its entrypoint, as keyword arguments. None is the same as leaving a field out.

    Ray's names, see `JobSubmissionClient.submit_job`. `working_dir` is a local directory or archive, which is uploaded
    if the server lacks it, or a remote URI; it replaces the `working_dir` of `runtime_env`.
    """

    working_dir: str | Path | None
    runtime_env: Mapping[str, Any] | None
    metadata: Mapping[str, str] | None
    entrypoint_num_cpus: float | None
    entrypoint_num_gpus: float | None
    entrypoint_memory: int | None
    entrypoint_resources: Mapping[str, float] | None
    entrypoint_label_selector: Mapping[str, str] | None


@dataclass(frozen=True)
class JobSpec:
    """Everything that decides what a job does.

    Args:
        entrypoint: A shell line. Required.
        runtime_env: Ray's runtime environment. Until the job is prepared, `working_dir` in it may be a local path;
            from then on it is the URI of a package. The same holds for files that `pip`, `uv` and `conda` name.
        metadata: The user's own pairs of strings. Keys that begin with `rayjobs.` are reserved.
        entrypoint_num_cpus: CPUs to reserve for the entrypoint; None leaves it to Ray, as for the fields below.
        entrypoint_num_gpus: GPUs to reserve.
        entrypoint_memory: Memory to reserve, in bytes.
        entrypoint_resources: Custom resources to reserve.
        entrypoint_label_selector: Labels that the entrypoint's node must have.

    Raises:
        Refused: The entrypoint is empty, metadata has a reserved key or a value that is no string, or Ray would fail
            the job for its runtime_env or its resources.
    """

    entrypoint: str
    runtime_env: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    entrypoint_num_cpus: float | None = None
    entrypoint_num_gpus: float | None = None
    entrypoint_memory: int | None = None
    entrypoint_resources: dict[str, float] | None = None
    entrypoint_label_selector: dict[str, str] | None = None

    @classmethod
    def from_fields(cls, entrypoint: str, **fields: Unpack[JobFields]) -> JobSpec:
        """Builds a spec from keyword arguments. Mappings are copied. Raises Refused."""
        values: dict[str, Any] = {
            name: dict(value) if isinstance(value, Mapping) else value for name, value in fields.items()
        }
        working_dir = values.pop("working_dir", None)
        runtime_env = values.pop("runtime_env", None) or {}
        if working_dir is not None:
            runtime_env["working_dir"] = str(working_dir)
        if isinstance(modules := runtime_env.get("py_modules"), (list, tuple)):
            runtime_env["py_modules"] = [_module_path(module) for module in modules]
        return cls(entrypoint, runtime_env, values.pop("metadata", None) or {}, **values)

    def __post_init__(self) -> None:
        if not self.entrypoint.strip():
            raise Refused(
                "There is no entrypoint.",
                f"Write the command to run after `--`, such as {command('submit -- python script.py')}.",
            )
        for key, value in self.metadata.items():
            if not isinstance(key, str) or not isinstance(value, str):
                raise Refused(
                    f"Metadata must map strings to strings; {key!r} is a {type(value).__name__}.",
                    "Put the value into quotes.",
                )
            if key.startswith(OWN_PREFIX):
                raise Refused(
                    f"Metadata keys that begin with {OWN_PREFIX!r} are reserved: {key!r}.", "Use another key."
                )
        self._check_as_ray_does()

    def _check_as_ray_does(self) -> None:
        problems = [
            f"runtime_env{'.' if key else ''}{key} {text}." for key, text in runtime_env_problems(self.runtime_env)
        ]
        problems += [
            f"{key} {text}."
            for key, text in resource_problems(
                self.entrypoint_num_cpus,
                self.entrypoint_num_gpus,
                self.entrypoint_memory,
                self.entrypoint_resources,
                self.entrypoint_label_selector,
            )
        ]
        if problems:
            raise Refused("\n".join(problems), "Ray would accept the job and fail it, so it was not submitted.")

    @property
    def working_dir(self) -> str | None:
        """The working directory: a local path or a URI."""
        working_dir = self.runtime_env.get("working_dir")
        return working_dir if isinstance(working_dir, str) else None

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules (`py_modules`): local paths or URIs."""
        return tuple(self.runtime_env.get("py_modules") or ())

    @property
    def package_uris(self) -> list[str]:
        """The packages that the server must have: `gcs://` URIs of the working directory and the modules."""
        return [uri for uri in (self.working_dir, *self.modules) if uri is not None and uri.startswith("gcs://")]

    @property
    def resources(self) -> dict[str, Any]:
        """What to reserve for the entrypoint, without the fields that are empty."""
        named = {
            "num_cpus": self.entrypoint_num_cpus,
            "num_gpus": self.entrypoint_num_gpus,
            "memory": self.entrypoint_memory,
            "resources": self.entrypoint_resources,
            "label_selector": self.entrypoint_label_selector,
        }
        return {key: value for key, value in named.items() if value}

    @property
    def digest(self) -> str:
        """sha256 over the canonical JSON of all fields, as lower-case hex."""
        whole = {
            "entrypoint": self.entrypoint,
            "runtime_env": self.runtime_env,
            "metadata": self.metadata,
            "resources": self.resources,
        }
        return hashlib.sha256(canonical_json(whole).encode()).hexdigest()

    def wire(self, submission_id: str, user: str = "", about: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Returns the body of `POST /api/jobs/` (Ray's `JobSubmitRequest`), with the client's own metadata.

        Args:
            submission_id: The job's id.
            user: Who submits it; empty: nobody is named.
            about: More of the client's own metadata, such as the commit.
        """
        own = {**(about or {}), DIGEST_KEY: self.digest}
        if user:
            own[USER_KEY] = user
        if self.resources:
            own[RESOURCES_KEY] = canonical_json(self.resources)
        body: dict[str, Any] = {
            "entrypoint": self.entrypoint,
            "submission_id": submission_id,
            "metadata": {**self.metadata, **own},
        }
        if self.runtime_env:
            body["runtime_env"] = self.runtime_env
        for key, value in self.resources.items():
            body[f"entrypoint_{key}"] = value
        return body


@dataclass(frozen=True)
class JobRequest:
    """A job to submit. `submission_id` or `key` names the job; without either, the id is random."""

    spec: JobSpec
    submission_id: str | None = None
    key: str | None = None

    @property
    def may_exist(self) -> bool:
        """Whether the job may have been submitted before, by a command that named the same id or key."""
        return self.submission_id is not None or self.key is not None

    def choose_id(self) -> str:
        """Returns the submission id: given, derived from the key, or random. Raises Refused."""
        if self.submission_id is not None and self.key is not None:
            raise Refused("--submission-id and --key both name the job.", "Use one of them.")
        if self.submission_id is not None:
            return check_submission_id(self.submission_id)
        return new_submission_id() if self.key is None else submission_id_of_key(self.key)


def _variables(runtime_env: Mapping[str, Any]) -> Mapping[str, Any]:
    variables = runtime_env.get("env_vars") or {}
    return variables if isinstance(variables, Mapping) else {"env_vars that are no mapping": variables}


def difference(spec: JobSpec, job: JobInfo) -> str:
    """Describes how the job on the server differs from `spec`, a line for each field; never the value of a variable."""
    lines = []

    def compare(name: str, here: Any, there: Any) -> None:
        if here != there:
            shown_there, shown_here = (shown(canonical_json(value), SENTENCE_LIMIT) for value in (there, here))
            lines.append(f"{name}: there {shown_there}, here {shown_here}")

    compare("entrypoint", spec.entrypoint, job.entrypoint)
    env_here, env_there = (_variables(runtime_env) for runtime_env in (spec.runtime_env, job.runtime_env))
    changed = sorted(name for name in {*env_here, *env_there} if env_here.get(name) != env_there.get(name))
    if changed:
        lines.append(f"runtime_env.env_vars: {visible(', '.join(changed))} (values not shown)")
    for key in sorted({*spec.runtime_env, *job.runtime_env} - {"env_vars"}):
        compare(f"runtime_env.{visible(key)}", spec.runtime_env.get(key), job.runtime_env.get(key))
    compare("metadata", redacted_metadata(spec.metadata), redacted_metadata(job.user_metadata))
    compare("entrypoint resources", spec.resources, job.entrypoint_resources)
    return "\n  ".join(lines) or "all fields that the server shows are equal, but another client sent it"
