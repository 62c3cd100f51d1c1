"""Submit and follow Ray jobs: `from rayjobs import connect`. The public names, each loaded when it is used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import AsyncClient, AsyncJob, Client, ConnectOptions, Job, SubmitOptions, connect, connect_async
    from .errors import (
        Conflict,
        DeadlinePassed,
        Forbidden,
        Interrupted,
        JobFailed,
        JobLost,
        JobsError,
        JobStopped,
        KubeError,
        LedgerFault,
        LocalFault,
        NotAllowed,
        NotThere,
        PackageTooLarge,
        Refused,
        ServerFault,
        SourceChanged,
        UnknownJob,
        Unreachable,
    )
    from .spec.job_info import JobInfo, Result

__all__ = [
    "AsyncClient",
    "AsyncJob",
    "Client",
    "Conflict",
    "ConnectOptions",
    "DeadlinePassed",
    "Forbidden",
    "Interrupted",
    "Job",
    "JobFailed",
    "JobInfo",
    "JobLost",
    "JobStopped",
    "JobsError",
    "KubeError",
    "LedgerFault",
    "LocalFault",
    "NotAllowed",
    "NotThere",
    "PackageTooLarge",
    "Refused",
    "Result",
    "ServerFault",
    "SourceChanged",
    "SubmitOptions",
    "UnknownJob",
    "Unreachable",
    "connect",
    "connect_async",
]

_MODULES = {
    ".api": ("AsyncClient", "AsyncJob", "Client", "ConnectOptions", "Job", "SubmitOptions", "connect", "connect_async"),
    ".spec.job_info": ("JobInfo", "Result"),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = next((module for module, names in _MODULES.items() if name in names), ".errors")
    return getattr(importlib.import_module(module, __name__), name)
