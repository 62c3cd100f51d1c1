"""The ledger's record of a job."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ..spec import redact
from ..spec.job_info import LOST, TERMINAL
from .git import Commit

TAIL_BYTES = 1024 * 1024
MARGIN = 4096
_RAY_LINE = "Running entrypoint for job "
_END_OF_LINE = re.compile(r"(?<!\\)\n")  # A shell joins the lines around a backslash.
_BYTES = r"\x01-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f\ud800-\udfff"
_UNREADABLE, _READABLE = re.compile(f"[{_BYTES}]"), re.compile(f"[^{_BYTES}]{{12,}}")
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----[\s\S]{0,16384}?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----|\Z)"
)
# Beside Ray's statuses and LOST:
SUBMITTING = "SUBMITTING"
REFUSED = "REFUSED"
DELETED = "DELETED"
ENDED = TERMINAL | {LOST, REFUSED, DELETED}


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
    """The origin of a job, beside its spec. `working_dir` and each of `modules` is the absolute local path, or the URI
    that was given. `package_bytes` is what they have together before compression; None: nothing of them is local."""

    key: str | None = None
    attempt_of: str | None = None
    attempt: int = 0
    batch: str | None = None
    working_dir: str | None = None
    commit: Commit | None = None
    modules: tuple[str, ...] = ()
    package_bytes: int | None = None


@dataclass(frozen=True)
class Entry:
    """One submission. Times are in seconds since the epoch.

    `spec` has no secrets; `withheld` names the values that were left out. `changes` are the statuses and their times.

    The fields after `changes` are known of a job that a keeper saw on its cluster. `started_at` and `ended_at` are the
    server's times: when it accepted the job, and when the job ended. `why` has the keys `at`, a time, and `findings`,
    what `why` said at that time, each as a Finding has it. `source` is `submitted` (by this machine) or `seen` (on the
    cluster).
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
    driver_node: str | None = None
    job_id: str | None = None
    message: str | None = None
    started_at: float | None = None
    ended_at: float | None = None
    why: dict[str, Any] | None = None
    source: str = "submitted"

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    @property
    def metadata(self) -> dict[str, str]:
        """The user's own metadata, without secrets."""
        return dict(self.spec.get("metadata") or {})

    def as_json(self) -> dict[str, Any]:
        """Returns the object of `history --output json`."""
        record = asdict(self)
        place, origin = record.pop("place"), record.pop("origin")
        record["changes"] = [{"status": status, "at": at} for status, at in self.changes]
        return {**record, **place, **origin}


def name_of(spec: Mapping[str, Any]) -> str | None:
    """Returns the name that the job's metadata gives it."""
    name = (spec.get("metadata") or {}).get("name")
    return name.encode(errors="replace").decode() if isinstance(name, str) else None


def search_text(submission_id: str, spec: Mapping[str, Any], message: str | None = None) -> str:
    """Returns the text in which a search looks: folded, see `folded`. `spec` and `message` are without secrets."""
    values = map(str, (spec.get("metadata") or {}).values())
    return folded("\n".join((submission_id, str(spec.get("entrypoint", "")), *values, message or "")))


def folded(text: str) -> str:
    """Returns the text so that upper and lower case make no difference. SQLite would end it at a NUL."""
    return text.casefold().replace("\0", " ").encode(errors="replace").decode()


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
        """Returns the last TAIL_BYTES, and a little before them, so that `redacted` can recognise a secret that is
        cut."""
        return Tail(bytes(self._data[-TAIL_BYTES - MARGIN :]), self.total)


def redacted(tail: Tail, entrypoint: str = "") -> Tail:
    """Returns at most TAIL_BYTES of the tail, without values that look like secrets. Bytes that are not UTF-8 stay.

    Args:
        tail: The end of a log.
        entrypoint: The job's, without its secrets. Ray writes the whole one into the log, and it is replaced there.
    """
    text = _replace_entrypoint(tail.data.decode(errors="surrogateescape"), entrypoint)
    text = _PRIVATE_KEY.sub(redact.WITHHELD, text)
    # Line by line, because a quote in one line must not hide the next one.
    clean = "\n".join(map(_redact_line, _END_OF_LINE.split(text)))
    data = clean.encode(errors="surrogateescape")
    # A withheld value has another length. The tail of a whole log is still whole.
    return Tail(data[-TAIL_BYTES:], len(data) if tail.whole else tail.total)


def _redact_line(line: str) -> str:
    """Of binary data only the readable parts are read as text: by chance, it has names of secrets too."""
    if 5 * len(_UNREADABLE.findall(line)) <= 2 * len(line):
        return redact.text(line)
    return _READABLE.sub(lambda part: redact.text(part[0]), line)


def _replace_entrypoint(log: str, entrypoint: str) -> str:
    """The log with the entrypoint as it is given, in the line that Ray's job supervisor writes."""
    before, line, rest = log.partition(_RAY_LINE)
    submission_id, colon, rest = rest.partition(": ")
    first, *others = entrypoint.split(redact.WITHHELD)
    if not others or "\n" in submission_id or not rest.startswith(first):
        return log
    at = len(first)
    for part in others:
        found = rest.find(part, at) if part else rest.find("\n", at)
        if found < 0:
            return log
        at = found + len(part)
    return f"{before}{line}{submission_id}{colon}{entrypoint}{rest[at:]}"
