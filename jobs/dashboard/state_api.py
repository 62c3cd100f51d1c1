"""Ray's state API: nodes, actors and tasks, filtered by the server.

See https://docs.ray.io/en/latest/ray-observability/reference/api.html; the form of the answers is Ray 2.60's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from ..deadline import Deadline
from ..errors import ServerFault
from ._httpx import httpx
from .http import HttpClient, fault, json_of

ONE_ATTEMPT_SECONDS = 20.0


async def query_state(
    http: HttpClient,
    resource: str,
    filters: Mapping[str, str] | None = None,
    *,
    deadline: Deadline | None = None,
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """The objects of a kind (`nodes`, `actors`, `tasks`), with details.

    Args:
        http: The dashboard.
        resource: The kind.
        filters: Fields that must have these values.
        deadline: Of all attempts. Without it there is one attempt of 20 seconds.
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
            raise fault(response, http.where)
        try:
            return list(json_of(response, http.where)["data"]["result"]["result"])
        except (KeyError, TypeError) as error:
            raise ServerFault(f"{http.where} answered in another form than Ray 2.60: {error!r}") from error

    if deadline is None:
        return parse(await http.once("GET", path, seconds=ONE_ATTEMPT_SECONDS))
    return await http.ask("GET", path, deadline=deadline, parse=parse)
