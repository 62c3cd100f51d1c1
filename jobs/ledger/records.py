"""What the ledger has of a job."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from ..spec.job_info import LOST, TERMINAL
from .git import Commit

TAIL_BYTES = 1024 * 1024
# Beside Ray's statuses and LOST:
SUBMITTING = "SUBMITTING"
REFUSED = "REFUSED"
DELETED = "DELETED"


@dataclass(frozen=True)
class Place:
    """Where a job went. `identity` distinguishes clusters; `kind` is `stack`, `address` or `local`."""

    identity: str
    kind: str
    stack: str | None = None
    cluster: str | None = None
    namespace: str | None = None


@dataclass(frozen=True)
class Origin:
    """Where a job came from, beside its spec. `working_dir` is the absolute local path, or the URI that was given."""

    key: str | None = None
    attempt_of: str | None = None
    attempt: int = 0
    batch: str | None = None
    working_dir: str | None = None
    commit: Commit | None = None


@dataclass(frozen=True)
class Entry:
    """One submission. Times are in seconds since the epoch.

    `spec` has no secrets; `withheld` names the values that were left out. `changes` are the statuses and their times.
    """

    submission_id: str
    place: Place
    origin: Origin
    spec: dict[str, Any]
    withheld: list[str]
    digest: str
    package: str | None
    user: str
    host: str
    created: float
    status: str
    status_at: float
    driver_exit_code: int | None
    error_type: str | None
    changes: tuple[tuple[str, float], ...] = ()

    @property
    def ended(self) -> bool:
        return self.status in TERMINAL or self.status in (LOST, REFUSED, DELETED)

    def as_json(self) -> dict[str, Any]:
        """For `history --output json`."""
        record = asdict(self)
        place, origin = record.pop("place"), record.pop("origin")
        record["changes"] = [{"status": status, "at": at} for status, at in self.changes]
        return {**record, **place, **origin}


@dataclass(frozen=True)
class Tail:
    """The end of a log. `total` is the number of bytes of the log that were followed."""

    data: bytes
    total: int

    @property
    def whole(self) -> bool:
        """Whether it is the whole log."""
        return self.total <= len(self.data)


@dataclass
class TailBuffer:
    """The last TAIL_BYTES of what is fed to it, in less than twice as much memory."""

    total: int = 0
    _data: bytearray = field(default_factory=bytearray)

    def feed(self, chunk: bytes) -> None:
        self.total += len(chunk)
        self._data += chunk[-TAIL_BYTES:]
        if len(self._data) > 2 * TAIL_BYTES:
            del self._data[:-TAIL_BYTES]

    def tail(self) -> Tail:
        return Tail(bytes(self._data[-TAIL_BYTES:]), self.total)
