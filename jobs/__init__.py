"""Submit, follow and account for Ray jobs: `from jobs import connect`. Names are loaded when they are used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import AsyncClient, Client, Job, connect, connect_async
    from .errors import JobsError
    from .spec.job_info import JobInfo, Result

__all__ = ["AsyncClient", "Client", "Job", "JobInfo", "JobsError", "Result", "connect", "connect_async"]

_HOMES = {"JobsError": ".errors", "JobInfo": ".spec.job_info", "Result": ".spec.job_info"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES.get(name, ".api"), __name__), name)
