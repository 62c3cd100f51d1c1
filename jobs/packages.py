"""The packages of jobs: each directory is read once, each package is uploaded once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from .background import in_thread
from .dashboard.client import RayJobsApi
from .dashboard.http import MAX_SERVER_FAULTS
from .deadline import Backoff, Deadline
from .errors import Refused, ServerFault, command
from .spec.job_spec import JobSpec

if TYPE_CHECKING:
    from .upload.plan import Plan

UPLOAD_SECONDS = 600.0
Progress = Callable[[int, int], None]


class PackagePlanner:
    """Reads local working directories, each once for the same excludes.

    Args:
        use_cache: Files that have not changed since an earlier submission are not read again.
    """

    def __init__(self, *, use_cache: bool = True) -> None:
        from .ledger.store import default_path

        self.use_cache = use_cache
        self.own_databases = (default_path(),)
        self._plans: dict[tuple[str, tuple[str, ...] | str], Plan] = {}

    async def plan(self, spec: JobSpec) -> tuple[JobSpec, Plan | None]:
        """Reads the local files that a job names. Returns the spec with their content and the URI of its package, and
        the package to upload, if any.

        Raises:
            Refused: The working_dir cannot be packed, a file of the runtime_env cannot be read, or py_modules has a
                local module.
        """
        from .upload.requirements import with_file_contents

        spec = replace(spec, runtime_env=with_file_contents(spec.runtime_env, Path()))
        for module in spec.runtime_env.get("py_modules") or []:
            if isinstance(module, str) and "://" not in module:
                raise Refused(
                    f"py_modules of the runtime_env has the local module {module!r}, which is not uploaded.",
                    "Put it into the working_dir, or use the URI of a package.",
                )
        working_dir = spec.working_dir
        if working_dir is None or "://" in working_dir:
            return spec, None
        plan = await self._read(working_dir, spec.runtime_env.get("excludes") or ())
        return replace(spec, runtime_env={**spec.runtime_env, "working_dir": plan.uri}), plan

    async def plan_again(self, spec: JobSpec, working_dir: str | None) -> Plan | None:
        """Returns the package of a prepared spec, if the directory that it was made of still gives the same one."""
        if working_dir is None or "://" in working_dir or not Path(working_dir).exists():
            return None
        plan = await self._read(working_dir, spec.runtime_env.get("excludes") or ())
        return plan if plan.uri == spec.working_dir else None

    async def _read(self, working_dir: str, excludes: list[str] | tuple[str, ...] | str) -> Plan:
        from .upload.plan import plan

        # A text is no list of patterns; the plan refuses it.
        key = (working_dir, excludes if isinstance(excludes, str) else tuple(excludes))
        if key not in self._plans:
            self._plans[key] = await in_thread(
                lambda: plan(working_dir, excludes=excludes, use_cache=self.use_cache, own_databases=self.own_databases)
            )
        return self._plans[key]


@dataclass
class _Check:
    """When the server was last known to have a package."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    valid: Deadline = field(default_factory=lambda: Deadline(0))


class PackageStore:
    """The packages on one server.

    Args:
        client: The server.
        notify: Called with messages for a person.
        progress: Called with the bytes sent and the size of an upload.
        valid_seconds: Time in which the server is not asked again for the same package. The server keeps a package that
            no job uses for ten minutes after a request for it.
    """

    def __init__(
        self, client: RayJobsApi, *, notify: Callable[[str], None], progress: Progress, valid_seconds: float = 0.0
    ) -> None:
        self.client = client
        self.notify = notify
        self.progress = progress
        self.valid_seconds = valid_seconds
        self._checks: dict[str, _Check] = {}

    async def provide(self, uri: str, plan: Plan | None) -> None:
        """Makes sure that the server has the package, and uploads it if there is a plan for it.

        Raises:
            Refused: The server no longer has the package, or it cannot be packed any more.
            PackageTooLarge, NotAllowed, Unreachable
        """
        check = self._checks.setdefault(uri, _Check())
        async with check.lock:
            if not check.valid.passed:
                return
            if not await self.client.package_exists(uri):
                if plan is None:
                    raise Refused(
                        f"The server no longer has the package {uri}.",
                        "Submit the directory again with --working-dir; it has changed, or is not on this machine.",
                    )
                await self._upload(plan)
            check.valid = Deadline(self.valid_seconds)

    async def _upload(self, plan: Plan) -> None:
        from .upload.pack import packed
        from .upload.plan import OWN_OUTPUT

        if plan.secrets:
            self.notify(
                f"Likely secrets will be uploaded: {', '.join(secret.relpath for secret in plan.secrets[:5])}. "
                f"{command('submit --plan')} lists them; .rayignore leaves them out."
            )
        written = [path.relpath for path in plan.skipped if path.why == OWN_OUTPUT]
        if written:
            self.notify(f"Left out, because this command writes to it: {', '.join(written)}.")
        self.notify(f"Uploading {len(plan.files)} files ({plan.total_bytes / 1024**2:.1f} MiB).")
        package = packed(plan)
        body, size = await in_thread(package.__enter__)
        try:
            await upload_package(self.client, plan.uri, body, size, progress=self.progress)
        finally:
            package.__exit__(None, None, None)


async def upload_package(
    client: RayJobsApi,
    uri: str,
    body: BinaryIO,
    size: int,
    *,
    progress: Progress = lambda _sent, _total: None,
    deadline: Deadline | None = None,
) -> None:
    """Uploads a package, repeatedly if need be: its name is its content.

    Raises:
        PackageTooLarge, Refused, NotAllowed: The server does not accept it.
        ServerFault, Unreachable: It did not arrive within `deadline`, 10 minutes by default.
    """
    deadline = deadline or Deadline(UPLOAD_SECONDS)
    backoff, server_faults = Backoff(deadline), 0
    while True:
        error = await client.put_package(uri, body, size, progress, max(1.0, deadline.left))
        if error is None:
            return
        server_faults += isinstance(error, ServerFault)
        if server_faults >= MAX_SERVER_FAULTS:
            raise error
        await backoff.pause(error)
        # Perhaps only the answer was lost.
        if await client.package_exists(uri, deadline):
            progress(size, size)
            return
