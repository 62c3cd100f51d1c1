"""What a job is: the spec that is submitted, the server's record of it, and how it ended."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from ..errors import (
    EXIT_FAILED,
    EXIT_LOST,
    EXIT_STOPPED,
    EXIT_SUCCEEDED,
    JobFailed,
    JobLost,
    JobStopped,
    Refused,
)

TERMINAL = frozenset({"SUCCEEDED", "FAILED", "STOPPED"})
LOST = "LOST"
EXIT_CODE_OF = {"SUCCEEDED": EXIT_SUCCEEDED, "FAILED": EXIT_FAILED, "STOPPED": EXIT_STOPPED, LOST: EXIT_LOST}

DIGEST_KEY = "rayjobs.spec_sha256"
RESOURCES_KEY = "rayjobs.entrypoint_resources"
OWN_PREFIX = "rayjobs."

# The id is part of a URL and of a log file's name on the node.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def new_submission_id() -> str:
    """A random id, in the shape of the stock client's."""
    return "raysubmit_" + secrets.token_hex(8)


def submission_id_of_key(key: str) -> str:
    """The id that `--key` stands for: the same key always means the same job."""
    if not key:
        raise Refused(
            "--key is empty.", "Give it a name that stands for this piece of work, such as a date and a step."
        )
    return "rayjobs_key_" + hashlib.sha256(key.encode()).hexdigest()[:24]


def check_submission_id(submission_id: str) -> str:
    if not _ID.fullmatch(submission_id):
        raise Refused(
            f"The submission id {submission_id!r} cannot be used.",
            "Allowed: 1 to 128 letters, digits, '.', '_' and '-', the first one a letter or digit.",
        )
    return submission_id


def canonical_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


@dataclass(frozen=True)
class JobSpec:
    """All that decides what a job does. `runtime_env` names its working_dir by package URI, not by path.

    `entrypoint_memory` is in bytes. Metadata is what the user gave; the client's own keys are added on the wire.
    """

    entrypoint: str
    runtime_env: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    entrypoint_num_cpus: float | None = None
    entrypoint_num_gpus: float | None = None
    entrypoint_memory: int | None = None
    entrypoint_resources: dict[str, float] | None = None
    entrypoint_label_selector: dict[str, str] | None = None

    def __post_init__(self) -> None:
        if not self.entrypoint.strip():
            raise Refused(
                "There is no entrypoint.", "Write the command to run after `--`, e.g. `submit -- python script.py`."
            )
        for key, value in self.metadata.items():
            if not isinstance(key, str) or not isinstance(value, str):
                raise Refused(
                    f"Metadata must map strings to strings; {key!r} has {type(value).__name__}.",
                    "Put the value into quotes.",
                )
            if key.startswith(OWN_PREFIX):
                raise Refused(f"Metadata keys that begin with {OWN_PREFIX!r} are the client's own: {key!r}.")

    @property
    def resources(self) -> dict[str, Any]:
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
        """sha256 over the canonical JSON of everything that decides what runs, as lower-case hex."""
        whole = {
            "entrypoint": self.entrypoint,
            "runtime_env": self.runtime_env,
            "metadata": self.metadata,
            "resources": self.resources,
        }
        return hashlib.sha256(canonical_json(whole).encode()).hexdigest()

    def wire(self, submission_id: str) -> dict[str, Any]:
        """The body of `POST /api/jobs/`."""
        own = {DIGEST_KEY: self.digest}
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


class JobInfo(NamedTuple):
    """The server's record of a job. Times are milliseconds since the epoch. A tuple, for a list of thousands."""

    submission_id: str
    status: str
    entrypoint: str = ""
    message: str = ""
    error_type: str | None = None
    type: str = "SUBMISSION"
    job_id: str | None = None
    start_time: int | None = None
    end_time: int | None = None
    metadata: Mapping[str, str] = MappingProxyType({})
    runtime_env: Mapping[str, Any] = MappingProxyType({})
    driver_exit_code: int | None = None
    driver_node_id: str | None = None
    driver_agent_http_address: str | None = None

    @classmethod
    def from_wire(cls, raw: Mapping[str, Any]) -> JobInfo:
        """Reads one of the server's job objects; fields of newer servers are ignored, missing ones are empty.

        Raises KeyError or TypeError for an object that is no job.
        """
        status = raw["status"]
        if not isinstance(status, str):
            raise TypeError(f"its status is {status!r}")
        get = raw.get
        return cls(
            get("submission_id") or get("job_id") or "",
            status,
            get("entrypoint") or "",
            get("message") or "",
            get("error_type"),
            get("type") or "SUBMISSION",
            get("job_id"),
            get("start_time"),
            get("end_time"),
            get("metadata") or {},
            get("runtime_env") or {},
            get("driver_exit_code"),
            get("driver_node_id"),
            get("driver_agent_http_address"),
        )

    @property
    def ended(self) -> bool:
        return self.status in TERMINAL

    @property
    def digest(self) -> str | None:
        return self.metadata.get(DIGEST_KEY)

    @property
    def user_metadata(self) -> dict[str, str]:
        return {key: value for key, value in self.metadata.items() if not key.startswith(OWN_PREFIX)}

    def shown(self) -> JobInfo:
        """The same without what looks like a secret, for people, JSON and CI logs."""
        from . import redact

        return self._replace(
            entrypoint=redact.text(self.entrypoint),
            message=redact.text(self.message),
            metadata=redact.metadata(self.metadata),
            runtime_env=without_secrets(self.runtime_env),
        )

    def as_json(self) -> dict[str, Any]:
        """For `--output json`, without what looks like a secret."""
        shown = self.shown()
        return {
            "submission_id": self.submission_id,
            "status": self.status,
            "entrypoint": shown.entrypoint,
            "message": shown.message,
            "error_type": self.error_type,
            "driver_exit_code": self.driver_exit_code,
            "start_time": self.start_time,
            "end_time": self.end_time,
            "metadata": shown.user_metadata,
            "runtime_env": dict(shown.runtime_env),
            "type": self.type,
            "job_id": self.job_id,
        }


def without_secrets(runtime_env: Mapping[str, Any]) -> dict[str, Any]:
    """The same runtime_env without the values of its env_vars (names are useful, values may be secrets) and without
    what looks like a secret elsewhere, such as the password of a URL."""
    from . import redact

    shown: dict[str, Any] = redact.leaves(runtime_env)
    if isinstance(shown.get("env_vars"), dict):
        shown["env_vars"] = dict.fromkeys(shown["env_vars"], "(not shown)")
    return shown


def difference(spec: JobSpec, there: JobInfo) -> str:
    """What the job on the server has otherwise, a line a field; never the value of an environment variable."""
    from . import redact

    lines = []

    def compare(name: str, ours: Any, theirs: Any) -> None:
        if ours != theirs:
            lines.append(f"{name}: there {canonical_json(theirs)}, here {canonical_json(ours)}")

    compare("entrypoint", spec.entrypoint, there.entrypoint)
    env_here, env_there = spec.runtime_env.get("env_vars") or {}, there.runtime_env.get("env_vars") or {}
    changed = sorted(k for k in {*env_here, *env_there} if env_here.get(k) != env_there.get(k))
    if changed:
        lines.append(f"runtime_env.env_vars: {', '.join(changed)} (values not shown)")
    for key in sorted({*spec.runtime_env, *there.runtime_env} - {"env_vars"}):
        compare(f"runtime_env.{key}", spec.runtime_env.get(key), there.runtime_env.get(key))
    compare("metadata", redact.metadata(spec.metadata), redact.metadata(there.user_metadata))
    compare("entrypoint resources", spec.resources, json.loads(there.metadata.get(RESOURCES_KEY, "{}")))
    return redact.text("\n  ".join(lines)) or "the same in all that the server shows, but another client submitted it"


@dataclass(frozen=True)
class Result:
    """How a job ended. `status` is one of SUCCEEDED, FAILED, STOPPED, LOST; `exit_code` follows docs/jobs.md."""

    submission_id: str
    status: str
    info: JobInfo | None = None

    @property
    def exit_code(self) -> int:
        return EXIT_CODE_OF.get(self.status, EXIT_FAILED)

    @property
    def driver_exit_code(self) -> int | None:
        return self.info.driver_exit_code if self.info else None

    @property
    def error_type(self) -> str | None:
        return self.info.error_type if self.info else None

    @property
    def message(self) -> str:
        return self.info.message if self.info else ""

    def check(self) -> Result:
        """Returns itself if the job succeeded; raises JobFailed, JobStopped or JobLost otherwise."""
        if self.status == "SUCCEEDED":
            return self
        what = f"Job {self.submission_id} ended with {self.status}."
        if self.error_type:
            what += f" ({self.error_type})"
        if self.status == LOST:
            raise lost(self.submission_id)
        if self.status == "STOPPED":
            raise JobStopped(what)
        raise JobFailed(what, self.message)

    def as_json(self) -> dict[str, Any]:
        record = self.info.as_json() if self.info else {"submission_id": self.submission_id}
        return {**record, "status": self.status, "exit_code": self.exit_code}


def lost(submission_id: str) -> JobLost:
    return JobLost(
        f"Job {submission_id} is lost: the server accepted it and no longer knows it. "
        "Most likely the head restarted without GCS fault tolerance.",
        f"`rerun {submission_id}` submits it again under a new id.",
    )
