"""The server's record of a job, and how it ended.

A JobInfo has the server's texts unchanged. What is made of it for people and for JSON (`shown`, `as_json`, Result) has
no secrets: this is the one place where that changes.
"""

from __future__ import annotations

import json
import re
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
from .shown import SENTENCE_LIMIT, TEXT_LIMIT, redacted, redacted_metadata, shown, visible

TERMINAL = frozenset({"SUCCEEDED", "FAILED", "STOPPED"})
LOST = "LOST"
EXIT_CODE_OF = {"SUCCEEDED": EXIT_SUCCEEDED, "FAILED": EXIT_FAILED, "STOPPED": EXIT_STOPPED, LOST: EXIT_LOST}

DIGEST_KEY = "rayjobs.spec_sha256"
RESOURCES_KEY = "rayjobs.entrypoint_resources"
USER_KEY = "rayjobs.user"
COMMIT_KEY = "rayjobs.commit"
PACKAGE_BYTES_KEY = "rayjobs.package_bytes"
# At the end of a commit: files differ from it.
DIRTY = "+dirty"
OWN_PREFIX = "rayjobs."
NOT_SHOWN = "(not shown)"
_SHA, _BYTES = re.compile(r"[0-9a-f]{7,64}"), re.compile(r"[0-9]{1,15}")
# Exceptions of Ray's validation, and of code that it would have protected.
_INVALID = frozenset({"ValueError", "TypeError", "ValidationError", "KeyError", "AttributeError"})


class JobInfo(NamedTuple):
    """The server's record of a job, unchanged: print `shown()`, not the fields.

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
        driver_node_ip: The IP address of the program that connected to Ray, or None.
        driver_pid: The process id of that program, or None.
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
    driver_node_ip: str | None = None
    driver_pid: str | None = None

    @property
    def ended(self) -> bool:
        """Whether the status is SUCCEEDED, FAILED or STOPPED."""
        return self.status in TERMINAL

    @property
    def is_driver(self) -> bool:
        """Whether a program connected to Ray by itself, so that the Jobs API has no log of it and cannot stop it."""
        return self.type == "DRIVER"

    @property
    def digest(self) -> str | None:
        """The SHA-256 of what this client submitted; None for a job of another client."""
        return self.metadata.get(DIGEST_KEY)

    @property
    def user(self) -> str:
        """Who submitted the job, as the client said; empty for a job of another client."""
        return self.metadata.get(USER_KEY, "")

    @property
    def commit(self) -> tuple[str, bool] | None:
        """The git commit of the working directory, and whether files differed from it, as the client said."""
        text = self.metadata.get(COMMIT_KEY, "")
        sha = text.removesuffix(DIRTY)
        return (sha, sha != text) if _SHA.fullmatch(sha) else None

    @property
    def package_bytes(self) -> int | None:
        """The bytes of the working directory and the modules before compression, as the client said."""
        text = self.metadata.get(PACKAGE_BYTES_KEY, "")
        return int(text) if _BYTES.fullmatch(text) else None

    @property
    def user_metadata(self) -> dict[str, str]:
        """The metadata without this client's own keys."""
        return {key: value for key, value in self.metadata.items() if not key.startswith(OWN_PREFIX)}

    @property
    def entrypoint_resources(self) -> dict[str, Any]:
        """What the entrypoint reserves, as this client wrote it into the metadata; empty if that cannot be read."""
        try:
            resources = json.loads(self.metadata.get(RESOURCES_KEY, "{}"))
        except (ValueError, RecursionError):
            return {}
        return resources if isinstance(resources, dict) else {}

    def __repr__(self) -> str:
        """Id and status only: the other fields may hold secrets."""
        return f"JobInfo({self.submission_id!r}, {self.status!r})"

    def _repr_html_(self) -> str:
        """The job in a notebook. See job_html."""
        from .job_html import job_html

        return job_html(self)

    def shown(self, limit: int = TEXT_LIMIT) -> JobInfo:
        """Returns the job for people: without values that look like secrets, with visible control characters.

        Args:
            limit: The number of characters after which a text is cut.
        """
        own = {key: value for key, value in self.metadata.items() if key.startswith(OWN_PREFIX)}
        return self._replace(
            submission_id=visible(self.submission_id),
            status=visible(self.status),
            entrypoint=shown(self.entrypoint, limit, lines=True),
            message=shown(self.message, limit, lines=True),
            error_type=self.error_type and shown(self.error_type, SENTENCE_LIMIT),
            type=visible(self.type),
            driver_node_ip=self.driver_node_ip and visible(self.driver_node_ip),
            driver_pid=self.driver_pid and visible(self.driver_pid),
            metadata={**_visible_leaves(redacted_metadata(self.user_metadata)), **own},
            runtime_env=_visible_leaves(without_secrets(self.runtime_env)),
        )

    def as_json(self) -> dict[str, Any]:
        """Returns the object of `--output json`, without values that look like secrets."""
        return {
            "submission_id": self.submission_id,
            "status": self.status,
            "entrypoint": redacted(self.entrypoint),
            "message": redacted(self.message),
            "error_type": redacted(self.error_type),
            "driver_exit_code": self.driver_exit_code,
            "start_time": self.start_time,
            "end_time": self.end_time,
            "metadata": redacted_metadata(self.user_metadata),
            "runtime_env": without_secrets(self.runtime_env),
            "type": self.type,
            "job_id": self.job_id,
            "user": redacted(self.user),
        }


def without_secrets(runtime_env: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the runtime_env without the values of its env_vars (names are useful, values may be secrets) and without
    text elsewhere that looks like a secret, such as the password of a URL."""
    variables = runtime_env.get("env_vars")
    others: dict[str, Any] = redacted({key: value for key, value in runtime_env.items() if key != "env_vars"})
    if variables is None:
        return others
    # Ray also keeps the record of a job whose env_vars are no mapping.
    hidden = dict.fromkeys(variables, NOT_SHOWN) if isinstance(variables, Mapping) else NOT_SHOWN
    return {**others, "env_vars": hidden}


def type_name(value: Any) -> str:
    """Returns the JSON type of a value, with its article."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    names = {str: "a text", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)


def _visible_leaves(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {visible(str(key)): _visible_leaves(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_visible_leaves(inner) for inner in value]
    return visible(value, lines=True) if isinstance(value, str) else value


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
        """The server's text about the end, as it may be shown; for a failed job the end of its log.

        Values that look like secrets are withheld, and control characters are visible. `info.message` is unchanged.
        """
        return shown(self.info.message, lines=True) if self.info else ""

    def check(self) -> Result:
        """Returns the result itself if the job succeeded.

        Raises:
            JobFailed: It ended with FAILED.
            JobStopped: It ended with STOPPED.
            JobLost: The server no longer knows it.
        """
        if self.status == "SUCCEEDED":
            return self
        what = f"Job {self.submission_id} ended with {visible(self.status)}."
        if self.error_type:
            what += f" ({shown(self.error_type, SENTENCE_LIMIT)})"
        if self.status == LOST:
            raise lost(self.submission_id)
        if self.status == "STOPPED":
            raise JobStopped(what)
        raise JobFailed(what, self.message)

    def as_json(self) -> dict[str, Any]:
        """Returns the object of `--output json`, without values that look like secrets."""
        record = self.info.as_json() if self.info else {"submission_id": self.submission_id}
        return {**record, "status": self.status, "exit_code": self.exit_code}


def invalid_request(job: JobInfo) -> str:
    """Returns why Ray could not use a job as it was submitted; empty if the job failed for another reason.

    Ray validates the runtime_env and the resources when it starts the job's process. What it refuses then has the same
    error type as a process that died. Only the exception at the end of the message tells the two apart.
    """
    if job.error_type != "JOB_SUPERVISOR_ACTOR_START_FAILURE":
        return ""
    _, _, trace = job.message.rpartition("Traceback (most recent call last):")
    # The lines of a traceback are indented, the exception after them is not. Its text can have several lines.
    exception = re.search(r"^([\w.]+)(?:: |$)(.*)", trace, re.MULTILINE)
    if exception is None or exception[1].rpartition(".")[2] not in _INVALID:
        return ""
    return exception[2].strip() or exception[1]


def lost(submission_id: str) -> JobLost:
    return JobLost(
        f"Job {submission_id} is lost: the server accepted it and no longer knows it. "
        "Most likely the head restarted without GCS fault tolerance.",
        f"{command(f'rerun {submission_id}')} submits it again under a new id.",
    )
