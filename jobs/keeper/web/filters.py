"""The filters of a list of jobs, from a query string. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from ...errors import Refused
from ...ledger.records import DELETED, REFUSED, SUBMITTING
from ...spec.durations import parse_since
from ...spec.job_info import LOST

if TYPE_CHECKING:
    from starlette.datastructures import QueryParams

ACTIVE = (SUBMITTING, "PENDING", "RUNNING")
ENDED = ("SUCCEEDED", "FAILED", "STOPPED", LOST, REFUSED, DELETED)
STATUSES = (*ACTIVE, *ENDED)
DEFAULT_LIMIT, MOST = 50, 500
LONGEST = 500


@dataclass(frozen=True)
class Filters:
    """The filters. Texts are as they were typed; times are in seconds since the epoch."""

    status: tuple[str, ...] = ()
    user: str = ""
    name: str = ""
    search: str = ""
    since_text: str = ""
    until_text: str = ""
    since: float | None = None
    until: float | None = None
    limit: int = DEFAULT_LIMIT
    cursor: str = ""

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of `KeptJobs.jobs`, without status, limit and cursor."""
        texts = {"user": self.user, "name": self.name, "search": self.search}
        return {key: value or None for key, value in texts.items()} | {"since": self.since, "until": self.until}

    @property
    def is_empty(self) -> bool:
        return not (self.status or self.user or self.name or self.search or self.since_text or self.until_text)

    def as_query(self, **changes: str) -> str:
        """The query string of these filters, such as `?status=FAILED`, with changes; an empty value leaves it out."""
        values = {"user": self.user, "name": self.name, "search": self.search, "since": self.since_text}
        values |= {"until": self.until_text, "limit": "" if self.limit == DEFAULT_LIMIT else str(self.limit)}
        pairs = [("status", status) for status in self.status if "status" not in changes]
        pairs += [(key, value) for key, value in {**values, **changes}.items() if value]
        return f"?{urlencode(pairs)}" if pairs else "?"


def parse_filters(query: QueryParams, now: float) -> Filters:
    """Reads the filters.

    Args:
        query: The query string. `status` may be repeated, or have several statuses with commas.
        now: Seconds since the epoch.

    Raises:
        Refused: A value is not possible. The text names the parameter.
    """
    texts = {key: query.get(key, "").strip() for key in ("user", "name", "search", "since", "until", "cursor")}
    for key, text in texts.items():
        if len(text) > LONGEST:
            raise Refused(f"{key} is too long.", f"It has at most {LONGEST} characters.")
    status = tuple(dict.fromkeys(each for text in query.getlist("status") for each in text.upper().split(",") if each))
    for each in status:
        if each not in STATUSES:
            raise Refused(f"status {each[:40]!r} is not a status.", f"Allowed: {', '.join(STATUSES)}.")
    return Filters(
        status,
        texts["user"],
        texts["name"],
        texts["search"],
        texts["since"],
        texts["until"],
        parse_since(texts["since"], "since", now) if texts["since"] else None,
        parse_since(texts["until"], "until", now) if texts["until"] else None,
        whole_number(query, "limit", DEFAULT_LIMIT, 1, MOST),
        texts["cursor"],
    )


def whole_number(query: QueryParams, key: str, default: int, least: int, most: int) -> int:
    """Returns a parameter that is a whole number. Raises Refused."""
    text = query.get(key) or str(default)
    if not (text.isascii() and text.isdecimal() and len(text) <= 18 and least <= int(text) <= most):
        raise Refused(f"{key} {text[:40]!r} is not possible.", f"Use a whole number from {least} to {most}.")
    return int(text)
