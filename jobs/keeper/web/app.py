"""The application: routes, and what they need."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from ...errors import JobsError, LedgerFault
from .access import Access
from .api import Api, error
from .cluster_view import ClusterView, KeeperState
from .guard import LOOPBACK_NAMES, Guard
from .pages import Pages

if TYPE_CHECKING:
    from ...ledger.kept import KeptJobs

_MACHINE_PATHS = ("/v1/", "/metrics", "/healthz", "/livez")


@dataclass(frozen=True)
class Served:
    """What is served: the kept jobs, who may ask, the state of the keeper, and the live cluster if there is one."""

    kept: KeptJobs
    access: Access
    state: Callable[[], KeeperState] = KeeperState
    cluster: ClusterView | None = None


def routes_of(served: Served) -> list[Route | Mount]:
    """Returns the routes. A submission id may have slashes, so the routes that end with a word come first."""
    api, pages = Api(served), Pages(served)
    return [
        Route("/v1/jobs", api.jobs),
        Route("/v1/jobs/{submission_id:path}/log", api.log),
        Route("/v1/jobs/{submission_id:path}", api.job),
        Route("/v1/events", api.events),
        Route("/v1/page-keys", api.new_page_key, methods=["POST"]),
        Route("/healthz", api.healthz),
        Route("/livez", api.livez),
        Route("/metrics", api.metrics),
        Route("/open", pages.open),
        Route("/", pages.jobs),
        Route("/cluster", pages.cluster),
        Route("/jobs/{submission_id:path}/log-part", pages.log_part),
        Route("/jobs/{submission_id:path}", pages.job),
        Mount("/static", StaticFiles(directory=Path(__file__).parent / "static")),
    ]


def create_app(served: Served, hosts: Collection[str] = LOOPBACK_NAMES) -> ASGIApp:
    """Returns the application, for an ASGI server.

    Args:
        served: What is served.
        hosts: The names under which it is asked, without ports; a keeper in a cluster adds those of its Service.
    """
    pages = Pages(served)

    def refuse(path: str, status: int, message: str, remedy: str) -> Response:
        if path.startswith(_MACHINE_PATHS):
            return error(status, message, remedy=remedy)
        return pages.message(status, message, remedy)

    def on_error(request: Request, problem: Exception) -> Response:
        path = request.url.path
        if isinstance(problem, HTTPException):
            words = {404: "There is no such page.", 405: "This is read-only: use GET."}
            answer = refuse(path, problem.status_code, words.get(problem.status_code, str(problem.detail)), "")
            answer.headers.update(problem.headers or {})
            return answer
        if isinstance(problem, LedgerFault):
            return refuse(path, 503, "The kept jobs cannot be read now.", problem.message)
        if isinstance(problem, JobsError):
            return refuse(path, 400, problem.message, problem.remedy)
        return refuse(path, 500, "This failed inside the page. The log of the server says why.", "")

    handlers = dict.fromkeys((HTTPException, JobsError, Exception), on_error)
    app = Starlette(routes=routes_of(served), exception_handlers=handlers)
    return Guard(app, served.access, hosts, refuse)
