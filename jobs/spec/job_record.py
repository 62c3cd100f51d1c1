"""What the Jobs API says of jobs, from JSON to JobInfo.

msgspec reads the JSON and checks the types in one step: a list of a thousand jobs takes a fifth of the time of the
standard library.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, TypeVar

import msgspec

from .job_info import JobInfo
from .levels import CONTAINERS, check_levels

# The last millisecond of the year 9999, the last one that a date can have.
Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_999)]
ExitCode = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31)]
_AGENT_ADDRESS = re.compile(r"https?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}/?")

T = TypeVar("T")


class _Driver(msgspec.Struct):
    node_ip_address: str | None = None
    pid: str | None = None


class _Record(msgspec.Struct):
    """A job as Ray writes it. Unknown fields are ignored."""

    status: Annotated[str, msgspec.Meta(min_length=1)]
    submission_id: str | None = None
    entrypoint: str | None = None
    message: str | None = None
    error_type: str | None = None
    type: str | None = None
    job_id: str | None = None
    start_time: Milliseconds | None = None
    end_time: Milliseconds | None = None
    metadata: dict[str, str] | None = None
    runtime_env: dict[str, Any] | None = None
    driver_exit_code: ExitCode | None = None
    driver_node_id: str | None = None
    driver_agent_http_address: str | None = None
    driver_info: _Driver | None = None


_ONE = msgspec.json.Decoder(_Record)
_LIST = msgspec.json.Decoder(list[_Record])


def read_job(body: bytes) -> JobInfo:
    """Reads a job. Raises as `read_jobs`."""
    return _job(_decode(_ONE, body))


def read_jobs(body: bytes) -> list[JobInfo]:
    """Reads a list of jobs.

    Raises:
        TypeError: It is no such list. The text names the field.
        ValueError: It is not JSON, or nested too deeply.
    """
    return [_job(record) for record in _decode(_LIST, body)]


def _decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    try:
        try:
            return decoder.decode(body)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            # A log that is cut within a character ends with half of a surrogate pair, which is JSON and not Unicode.
            text = json.dumps(json.loads(body), ensure_ascii=False)
            return decoder.decode(text.encode(errors="replace"))
    except msgspec.ValidationError as error:
        raise TypeError(str(error)) from error
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from error


def _job(record: _Record) -> JobInfo:
    driver = record.driver_info
    runtime_env = record.runtime_env or {}
    if any(type(value) in CONTAINERS for value in runtime_env.values()):
        check_levels(runtime_env)
    agent = record.driver_agent_http_address
    return JobInfo(
        record.submission_id or record.job_id or "",
        record.status,
        record.entrypoint or "",
        record.message or "",
        record.error_type,
        record.type or "SUBMISSION",
        record.job_id,
        record.start_time,
        record.end_time,
        record.metadata or {},
        runtime_env,
        record.driver_exit_code,
        record.driver_node_id,
        # A text that is no URL of an agent: the log is then read without the agent.
        agent if agent is not None and _AGENT_ADDRESS.fullmatch(agent) else None,
        driver.node_ip_address if driver else None,
        driver.pid if driver else None,
    )
