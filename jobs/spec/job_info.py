"""The server's record of a job, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
    command,
)

TERMINAL = frozenset({"SUCCEEDED", "FAILED", "STOPPED"})
LOST = "LOST"
EXIT_CODE_OF = {"SUCCEEDED": EXIT_SUCCEEDED, "FAILED": EXIT_FAILED, "STOPPED": EXIT_STOPPED, LOST: EXIT_LOST}

DIGEST_KEY = "rayjobs.spec_sha256"
RESOURCES_KEY = "rayjobs.entrypoint_resources"
OWN_PREFIX = "rayjobs."


class JobInfo(NamedTuple):
    """The server's record of a job.

    Attributes:
        submission_id: The job's id; for a driver that was not submitted as a job, its `job_id`.
        status: PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED.
        entrypoint: The shell command.
        message: The server's text about the status; for a failed job the end of its log.
        error_type: Why Ray failed the job, such as JOB_SUPERVISOR_ACTOR_DIED, or None.
        type: SUBMISSION, or DRIVER if it was not submitted as a job.
        job_id: Ray's id of the driver, or None before it started.
        start_time: When the server accepted the job, in milliseconds since the epoch.
        end_time: When the job ended, in milliseconds since the epoch, or None.
        metadata: The metadata, including this client's own keys, which begin with `rayjobs.`.
        runtime_env: The runtime environment.
        driver_exit_code: The exit code of the entrypoint, or None.
        driver_node_id: The node of the driver, or None.
        driver_agent_http_address: The dashboard agent of that node, or None.
    """

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
        """Reads one of the server's job objects. Unknown fields are ignored, missing fields are empty.

        Raises:
            KeyError: The object is not a job.
            TypeError: The object is not a job.
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
        """Whether the status is SUCCEEDED, FAILED or STOPPED."""
        return self.status in TERMINAL

    @property
    def digest(self) -> str | None:
        """The SHA-256 of what this client submitted; None for a job of another client."""
        return self.metadata.get(DIGEST_KEY)

    @property
    def user_metadata(self) -> dict[str, str]:
        """The metadata without this client's own keys."""
        return {key: value for key, value in self.metadata.items() if not key.startswith(OWN_PREFIX)}

    def shown(self) -> JobInfo:
        """Returns the job without values that look like secrets, for people, JSON and CI logs."""
        from . import redact

        return self._replace(
            entrypoint=redact.text(self.entrypoint),
            message=redact.text(self.message),
            metadata=redact.metadata(self.metadata),
            runtime_env=without_secrets(self.runtime_env),
        )

    def as_json(self) -> dict[str, Any]:
        """Returns the object of `--output json`, without values that look like secrets."""
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


@dataclass(frozen=True)
class Result:
    """How a job ended.

    Attributes:
        submission_id: The job's id.
        status: SUCCEEDED, FAILED, STOPPED, or LOST if the server no longer knows the job.
        info: The server's last record of the job; None if there is none.
    """

    submission_id: str
    status: str
    info: JobInfo | None = None

    @property
    def exit_code(self) -> int:
        """The exit code of `submit` and `wait`: 0 SUCCEEDED, 1 FAILED, 3 STOPPED, 4 LOST."""
        return EXIT_CODE_OF.get(self.status, EXIT_FAILED)

    @property
    def driver_exit_code(self) -> int | None:
        """The exit code of the entrypoint, if it ran."""
        return self.info.driver_exit_code if self.info else None

    @property
    def error_type(self) -> str | None:
        """Why Ray failed the job, such as JOB_SUPERVISOR_ACTOR_DIED."""
        return self.info.error_type if self.info else None

    @property
    def message(self) -> str:
        """The server's text about the end; for a failed job the end of its log."""
        return self.info.message if self.info else ""

    def check(self) -> Result:
        """Returns the result itself if the job succeeded.

        Raises:
            JobFailed: It ended with FAILED.
            JobStopped: It ended with STOPPED.
            JobLost: The server no longer knows it.
        """
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
        """Returns the object of `--output json`, without values that look like secrets."""
        record = self.info.as_json() if self.info else {"submission_id": self.submission_id}
        return {**record, "status": self.status, "exit_code": self.exit_code}


def lost(submission_id: str) -> JobLost:
    return JobLost(
        f"Job {submission_id} is lost: the server accepted it and no longer knows it. "
        "Most likely the head restarted without GCS fault tolerance.",
        f"{command(f'rerun {submission_id}')} submits it again under a new id.",
    )
