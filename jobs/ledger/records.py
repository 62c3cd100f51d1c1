"""The ledger's record of a job."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from ..spec import redact
from ..spec.job_info import LOST, TERMINAL
from .git import Commit

TAIL_BYTES = 1024 * 1024
MARGIN = 4096
# Beside Ray's statuses and LOST:
SUBMITTING = "SUBMITTING"
REFUSED = "REFUSED"
DELETED = "DELETED"


@dataclass(frozen=True)
class Place:
    """The place of a job. `identity` distinguishes clusters; `kind` is `stack`, `address` or `local`."""

    identity: str
    kind: str
    stack: str | None = None
    cluster: str | None = None
    namespace: str | None = None


@dataclass(frozen=True)
class Origin:
    """The origin of a job, beside its spec. `working_dir` is the absolute local path, or the URI that was given."""

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
        """Returns the object of `history --output json`."""
        record = asdict(self)
        place, origin = record.pop("place"), record.pop("origin")
        record["changes"] = [{"status": status, "at": at} for status, at in self.changes]
        return {**record, **place, **origin}


@dataclass(frozen=True)
class Tail:
    """The end of a log. `total` is the number of bytes of the log that were followed.

    What the ledger keeps is `redacted`: its bytes are not those of the job where a value was withheld.
    """

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
        self._data += chunk[-TAIL_BYTES - MARGIN :]
        if len(self._data) > 2 * TAIL_BYTES:
            del self._data[: -TAIL_BYTES - MARGIN]

    def tail(self) -> Tail:
        """What was fed last: TAIL_BYTES, and a little before them, so that `redacted` sees what they begin with."""
        return Tail(bytes(self._data[-TAIL_BYTES - MARGIN :]), self.total)


def _redact_line(line: str) -> str:
    # The entrypoint is a command line of its own, not the value of what stands before it.
    before, ray, rest = line.partition("Running entrypoint for job ")
    submission_id, colon, entrypoint = rest.partition(": ")
    if ray:
        return f"{redact.text(before)}{ray}{submission_id}{colon}{redact.text(entrypoint)}"
    return redact.text(line)


def redacted(tail: Tail) -> Tail:
    """At most TAIL_BYTES of the tail, without what looks like a secret. Bytes that are no UTF-8 stay.

    Ray writes the entrypoint into the log, and programs print their settings. The text is read twice: as a whole, for
    values that have several lines, and line by line, because a quote in one line must not hide the next line.
    """
    text = tail.data.decode(errors="surrogateescape")
    clean = "\n".join(map(_redact_line, redact.text(text).split("\n")))
    data = clean.encode(errors="surrogateescape")
    # A withheld value has another length. The tail of a whole log is still whole.
    return Tail(data[-TAIL_BYTES:], len(data) if tail.whole else tail.total)
