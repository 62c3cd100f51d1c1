"""Ray's state API: nodes, actors and tasks, filtered by the server.

See https://docs.ray.io/en/latest/ray-observability/reference/api.html; the form of the answers is Ray 2.60's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from ..activity import activity
from ..deadline import Deadline
from ..errors import ServerFault
from ..spec.job_info import type_name
from ._httpx import httpx
from .http import HttpClient, json_of
from .http_errors import error_of_response

ONE_ATTEMPT_SECONDS = 20.0
STATE_BYTES = 64 * 1024**2
# The fields of nodes, actors and tasks that this package reads.
TEXT, NUMBER, TEXTS, NUMBERS = "text", "number", "texts", "numbers"
FIELDS = {
    "node_id": TEXT,
    "state": TEXT,
    "start_time_ms": NUMBER,
    "labels": TEXTS,
    "resources_total": NUMBERS,
    "name": TEXT,
    "class_name": TEXT,
    "job_id": TEXT,
    "required_resources": NUMBERS,
}
MOST_NUMBER = 2.0**63


async def query_state(
    http: HttpClient,
    resource: str,
    filters: Mapping[str, str] | None = None,
    *,
    deadline: Deadline | None = None,
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """Reads the objects of a kind (`nodes`, `actors`, `tasks`), with details.

    Args:
        http: The dashboard.
        resource: The kind.
        filters: Fields that must have these values.
        deadline: The end of all attempts. Without it there is one attempt of 20 seconds.
        limit: The largest number of objects; the server has its own by default.

    Raises:
        NotAllowed, Refused, Unreachable, ServerFault
    """
    query = [("detail", "true")]
    if limit is not None:
        query.append(("limit", str(limit)))
    for key, value in (filters or {}).items():
        query += [("filter_keys", key), ("filter_predicates", "="), ("filter_values", value)]
    path = f"/api/v0/{resource}?{urlencode(query)}"

    def parse(response: httpx.Response) -> list[dict[str, Any]]:
        if not response.is_success:
            raise error_of_response(response, http.where)
        try:
            return read_objects(json_of(response, http.where))
        except TypeError as error:
            raise ServerFault(f"{http.where} answered in another form than Ray 2.60: {error}.") from error

    if deadline is None:
        with activity(f"Waiting for an answer from {http.where}", Deadline(ONE_ATTEMPT_SECONDS)):
            return parse(await http.once("GET", path, seconds=ONE_ATTEMPT_SECONDS, most=STATE_BYTES))
    return await http.ask("GET", path, deadline=deadline, parse=parse, most=STATE_BYTES)


def read_objects(answer: Any) -> list[dict[str, Any]]:
    """Reads the objects of an answer. Their fields in FIELDS have the types that are stated there, or are None.

    Raises:
        TypeError: It has another form. The text names the field.
    """
    for key in ("data", "result", "result"):
        answer = answer.get(key) if isinstance(answer, dict) else None
    if not isinstance(answer, list):
        raise TypeError(f"its data.result.result is {type_name(answer)}, not a list")
    for each in answer:
        if not isinstance(each, dict):
            raise TypeError(f"an object in the list is {type_name(each)}")
        for key, expected in FIELDS.items():
            value = each.get(key)
            if value is not None and not _is(value, expected):
                raise TypeError(f"the field {key} of an object is {type_name(value)}, or has such a value")
    return answer


def _is(value: Any, expected: str) -> bool:
    if expected == TEXT:
        return isinstance(value, str)
    if expected == NUMBER:
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MOST_NUMBER
    inner = {NUMBERS: NUMBER, TEXTS: TEXT}[expected]
    return isinstance(value, dict) and all(_is(each, inner) for each in value.values())
