"""The packages of jobs: each directory is read once, each package is uploaded once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from .activity import activity
from .background import in_thread
from .dashboard.client import RayJobsApi
from .dashboard.http import MAX_SERVER_FAULTS
from .deadline import Backoff, Deadline
from .errors import Refused, ServerFault, command, number_of
from .spec.job_spec import JobSpec, is_local_path

if TYPE_CHECKING:
    from .upload.plan import Plan

UPLOAD_SECONDS = 600.0


class PackagePlanner:
    """Reads local working directories and modules, each once for the same excludes.

    Args:
        use_cache: Files that have not changed since an earlier submission are not read again.
        ledger: Path of the ledger, which no package contains; this user's own by default.
    """

    def __init__(self, *, use_cache: bool = True, ledger: str | Path | None = None) -> None:
        from .ledger.store import Ledger

        self.use_cache = use_cache
        self.own_databases = (Ledger(ledger).path,)
        self._plans: dict[tuple[str, tuple[str, ...], bool], Plan] = {}

    async def plan(self, spec: JobSpec) -> tuple[JobSpec, tuple[Plan, ...]]:
        """Reads the local files that a job names. Returns the spec with their content and the URIs of its packages,
        and the packages to upload.

        Raises:
            Refused: The working_dir or a module cannot be packed, or a file of the runtime_env cannot be read.
        """
        from .upload.requirements import with_file_contents

        runtime_env = with_file_contents(spec.runtime_env, Path())
        excludes = runtime_env.get("excludes") or ()
        plans = []
        if is_local_path(spec.working_dir):
            plans.append(await self._read(str(spec.working_dir), excludes))
            runtime_env["working_dir"] = plans[0].uri
        modules = list(spec.modules)
        for index, module in enumerate(modules):
            if is_local_path(module):
                plans.append(await self._read(module, excludes, as_module=True))
                modules[index] = plans[-1].uri
        if modules:
            runtime_env["py_modules"] = modules
        return replace(spec, runtime_env=runtime_env), tuple(plans)

    async def plan_again(self, spec: JobSpec, working_dir: str | None, modules: Sequence[str]) -> tuple[Plan, ...]:
        """Returns the packages of a prepared spec for which the directory or the module still gives the same one.

        Args:
            spec: The spec, with the URIs of its packages.
            working_dir: The path or the URI that its working_dir was made of.
            modules: The paths or URIs that its modules were made of.
        """
        excludes = spec.runtime_env.get("excludes") or ()
        plans = []
        # An earlier version recorded no modules.
        sources = [(module, uri, True) for module, uri in zip(modules, spec.modules, strict=False)]
        for source, uri, as_module in [(working_dir, spec.working_dir, False), *sources]:
            if source is not None and is_local_path(source) and Path(source).exists():
                plan = await self._read(source, excludes, as_module=as_module)
                if plan.uri == uri:
                    plans.append(plan)
        return tuple(plans)

    async def _read(self, path: str, excludes: Sequence[str], *, as_module: bool = False) -> Plan:
        from .upload.modules import module_plan
        from .upload.plan import plan

        key = (path, tuple(excludes), as_module)
        if key not in self._plans:
            read = module_plan if as_module else plan
            self._plans[key] = await in_thread(
                lambda: read(path, excludes=excludes, use_cache=self.use_cache, own_databases=self.own_databases)
            )
        return self._plans[key]


def own_output_notice(plans: Iterable[Plan]) -> str:
    """Returns the message about the files that are left out since this command writes them; empty if there are none."""
    from .upload.plan import OWN_OUTPUT

    paths = {path.relpath for plan in plans for path in plan.skipped if path.why == OWN_OUTPUT}
    return f"Not in the package, because this command writes to it: {', '.join(sorted(paths))}." if paths else ""


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
        valid_seconds: Time in which the server is not asked again for the same package. The server keeps a package that
            no job uses for ten minutes after a request for it.
    """

    def __init__(self, client: RayJobsApi, *, notify: Callable[[str], None], valid_seconds: float = 0.0) -> None:
        self.client = client
        self.notify = notify
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
                        "Submit the job again with the directory or the module that it was made of.",
                    )
                await self._upload(plan)
            check.valid = Deadline(self.valid_seconds)

    async def _upload(self, plan: Plan) -> None:
        from .upload.pack import packed

        if plan.secrets:
            self.notify(
                f"Likely secrets will be uploaded: {', '.join(secret.relpath for secret in plan.secrets[:5])}. "
                f"{command('submit --plan')} lists them; .rayignore leaves them out."
            )
        self.notify(f"Uploading {number_of(len(plan.files), 'file')} ({plan.total_bytes / 1024**2:.1f} MiB).")
        package = packed(plan)
        body, size = await in_thread(package.__enter__)
        try:
            await upload_package(self.client, plan.uri, body, size)
        finally:
            package.__exit__(None, None, None)


async def upload_package(
    client: RayJobsApi,
    uri: str,
    body: BinaryIO,
    size: int,
    *,
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
        with activity("Uploading", deadline, total=size) as upload:
            error = await client.put_package(uri, body, size, upload.add, max(1.0, deadline.left))
        if error is None:
            return
        server_faults += isinstance(error, ServerFault)
        if server_faults >= MAX_SERVER_FAULTS:
            raise error
        with activity(f"The upload broke, and is tried again: {error.message}", deadline):
            await backoff.pause(error)
        # Perhaps only the answer was lost.
        if await client.package_exists(uri, deadline):
            return
