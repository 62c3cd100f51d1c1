"""What a job is to do: the spec that is submitted."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from ..errors import Refused
from . import redact
from .job_info import DIGEST_KEY, OWN_PREFIX, RESOURCES_KEY, JobInfo


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


def difference(spec: JobSpec, there: JobInfo) -> str:
    """What the job on the server has otherwise, a line a field; never the value of an environment variable."""
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
