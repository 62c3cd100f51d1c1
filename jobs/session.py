"""What the commands and the Python API do, written once: submit, follow, wait, stop over one connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .background import in_thread
from .connection import Connection
from .dashboard.client import Client, Submission, attach
from .dashboard.logs import Limits, LogFollower
from .deadline import Deadline
from .errors import DeadlinePassed, JobLost, JobsError, Refused, Unreachable
from .spec.job_info import LOST, JobInfo, Result
from .spec.job_spec import JobSpec
from .spec.submission_id import check_submission_id, new_submission_id, submission_id_of_key

if TYPE_CHECKING:
    from .ledger.recorder import Recorder
    from .ledger.store import Origin
    from .upload.pack import Plan


STOP_SECONDS = 60.0
PENDING_STOP_SECONDS = 10.0


@dataclass(frozen=True)
class Request:
    """A submission as a person asks for it: `working_dir` may be a local path, which the server never sees.

    `submission_id` or `key` name the job; with neither the id is random.
    """

    entrypoint: str
    submission_id: str | None = None
    key: str | None = None
    working_dir: str | None = None
    runtime_env: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    entrypoint_num_cpus: float | None = None
    entrypoint_num_gpus: float | None = None
    entrypoint_memory: int | None = None
    entrypoint_resources: Mapping[str, float] | None = None
    entrypoint_label_selector: Mapping[str, str] | None = None

    def chosen_id(self) -> str:
        """The id by which the job is known from here on. Raises Refused."""
        if self.submission_id is not None and self.key is not None:
            raise Refused("--submission-id and --key both name the job.", "Give one of them.")
        if self.submission_id is not None:
            return check_submission_id(self.submission_id)
        return new_submission_id() if self.key is None else submission_id_of_key(self.key)


@dataclass(frozen=True)
class Prepared:
    """A request that is ready to be sent: its id, its spec, and the package it needs (None: nothing to upload)."""

    submission_id: str
    spec: JobSpec
    plan: Plan | None
    may_exist: bool
    origin: Origin | None = None


async def prepare(request: Request, *, use_cache: bool = True) -> Prepared:
    """Reads the working directory; sends nothing. Raises Refused and what the package's plan raises."""
    submission_id = request.chosen_id()
    runtime_env = dict(request.runtime_env)
    if request.working_dir is not None:
        runtime_env["working_dir"] = request.working_dir
    for module in runtime_env.get("py_modules") or []:
        if isinstance(module, str) and "://" not in module:
            raise Refused(
                f"runtime_env names the local module {module!r} in py_modules, which is not uploaded.",
                "Put it into the working_dir, or give the URI of a package.",
            )
    plan: Plan | None = None
    working_dir = runtime_env.get("working_dir")
    if isinstance(working_dir, str) and "://" not in working_dir:
        from .upload import pack as package

        excludes = runtime_env.get("excludes")
        plan = await in_thread(lambda: package.plan(Path(working_dir), excludes=excludes or [], use_cache=use_cache))
        runtime_env["working_dir"] = plan.uri
    spec = JobSpec(
        entrypoint=request.entrypoint,
        runtime_env=runtime_env,
        metadata=dict(request.metadata),
        entrypoint_num_cpus=request.entrypoint_num_cpus,
        entrypoint_num_gpus=request.entrypoint_num_gpus,
        entrypoint_memory=request.entrypoint_memory,
        entrypoint_resources=dict(request.entrypoint_resources) if request.entrypoint_resources else None,
        entrypoint_label_selector=dict(request.entrypoint_label_selector)
        if request.entrypoint_label_selector
        else None,
    )
    may_exist = request.submission_id is not None or request.key is not None
    from .ledger.recorder import origin_of

    origin = await in_thread(lambda: origin_of(working_dir, key=request.key))
    return Prepared(submission_id, spec, plan, may_exist, origin)


async def plan_again(spec: JobSpec, working_dir: str | None, *, use_cache: bool = True) -> Plan | None:
    """The package of a spec from the directory that it was made of, if that still gives the same one; else None."""
    if working_dir is None or "://" in working_dir or not Path(working_dir).exists():
        return None
    from .upload import pack as package

    excludes = spec.runtime_env.get("excludes")
    plan = await in_thread(lambda: package.plan(working_dir, excludes=excludes or [], use_cache=use_cache))
    return plan if plan.uri == spec.runtime_env.get("working_dir") else None


class Session:
    """Operations on one Ray cluster. `note` gets lines for a person, `progress(sent, total)` an upload's bytes."""

    def __init__(
        self,
        connection: Connection,
        *,
        note: Callable[[str], None] = lambda _text: None,
        progress: Callable[[int, int], None] = lambda _sent, _total: None,
        patience: float = 300.0,
        recorder: Recorder | None = None,
    ) -> None:
        self.connection = connection
        self.recorder = recorder
        self.note = note
        self.progress = progress
        self.patience = patience

    @property
    def client(self) -> Client:
        return self.connection.client

    async def submit(self, prepared: Prepared, *, seconds: float = 120.0) -> Submission:
        """Uploads what the server lacks and submits, exactly once. See Client.submit for what it raises.

        `seconds` are for the acceptance; an upload before it has ten minutes of its own.
        """
        submission_id, spec, recorder = prepared.submission_id, prepared.spec, self.recorder
        if prepared.may_exist:
            there = await self.client.find(submission_id)
            if there is not None:
                return self._accepted(attach(spec, there), prepared)
            ended = recorder.forgotten(submission_id, spec) if recorder is not None else None
            if ended is not None:
                return Submission(submission_id, attached=True, info=ended)
        if recorder is not None and prepared.origin is not None:
            recorder.submitting(submission_id, spec, prepared.origin)
        try:
            if prepared.plan is not None:
                await self.upload(prepared.plan)
            else:
                await self._check_package(spec)
            submission = await self.client.submit(spec, submission_id, deadline=Deadline(seconds), note=self.note)
        except Refused as error:
            if recorder is not None:
                recorder.refused(submission_id, error)
            raise
        return self._accepted(submission, prepared)

    def _accepted(self, submission: Submission, prepared: Prepared) -> Submission:
        if self.recorder is not None and prepared.origin is not None:
            # An attached job may have been submitted elsewhere: this ledger has it from here on.
            self.recorder.submitting(submission.submission_id, prepared.spec, prepared.origin)
            self.recorder.status(submission.submission_id, submission.info.status if submission.info else "PENDING")
        return submission

    async def _check_package(self, spec: JobSpec) -> None:
        uri = spec.runtime_env.get("working_dir")
        if isinstance(uri, str) and uri.startswith("gcs://") and not await self.client.package_exists(uri):
            raise Refused(
                f"The server no longer has the package {uri}.",
                "Submit the directory again with --working-dir; it has changed since, or is not on this machine.",
            )

    async def upload(self, plan: Plan) -> None:
        from .upload import pack as package

        if await self.client.package_exists(plan.uri):
            return
        if plan.secrets:
            found = ", ".join(each.relpath for each in plan.secrets[:5])
            self.note(
                f"Likely secrets are among what is uploaded: {found}. `submit --plan` shows all; .rayignore keeps out."
            )
        self.note(f"Uploading {len(plan.files)} files ({plan.total_bytes / 1024**2:.1f} MiB).")
        manager = package.packed(plan)
        body, _ = await in_thread(manager.__enter__)
        try:
            await self.client.upload(plan.uri, body, progress=self.progress)
        finally:
            manager.__exit__(None, None, None)

    def follower(
        self,
        submission_id: str,
        *,
        follow: bool = True,
        seen: bool = False,
        offset: int = 0,
        limits: Limits | None = None,
    ) -> LogFollower:
        return LogFollower(
            self.client,
            submission_id,
            follow=follow,
            seen=seen,
            offset=offset,
            limits=limits,
            patience=self.patience,
            note=self.note,
            on_change=self._on_change,
        )

    def _on_change(self, info: JobInfo) -> None:
        self.note(f"Job {info.submission_id} is {info.status}.")
        if self.recorder is not None:
            self.recorder.seen([info])

    def _lost(self, submission_id: str, info: JobInfo | None = None) -> Result:
        """LOST; or its end, where this machine saw the job end before the server forgot it."""
        if self.recorder is not None:
            known = self.recorder.known(submission_id)
            if known is not None and known.ended:
                self.note(f"The server has forgotten job {submission_id}; it had ended, as the ledger knows.")
                return Result(submission_id, known.status, known)
            self.recorder.status(submission_id, LOST)
        return Result(submission_id, LOST, info)

    async def run(
        self,
        submission_id: str,
        write: Callable[[bytes], None],
        *,
        seen: bool = True,
        offset: int = 0,
        limits: Limits | None = None,
    ) -> Result:
        """Follows to the end, gives every byte of the log to `write`, and returns the result, LOST included.

        When one of `limits` passes the job is stopped, its log read to the end, and DeadlinePassed raised.
        """
        follower = self.follower(submission_id, seen=seen, offset=offset, limits=limits)
        with self._keeping_tail(submission_id, write, whole=offset == 0) as write:
            try:
                await _pump(follower, write)
            except JobLost:
                return self._lost(submission_id, follower.info)
            except DeadlinePassed as passed:
                self.note(passed.what)
                stopped = await self._stop_late(submission_id, follower, passed)
                await _pump(self.follower(submission_id, seen=True, offset=follower.offset), write)
                if stopped.status != "STOPPED":  # It was faster than the stop.
                    return Result(submission_id, stopped.status, stopped)
                raise DeadlinePassed(f"{passed.what} It was stopped.", passed.remedy) from passed
        info = follower.info
        assert info is not None  # The follower ends only on a job that has ended.
        return Result(submission_id, info.status, info)

    async def _stop_late(self, submission_id: str, follower: LogFollower, passed: DeadlinePassed) -> JobInfo:
        """Ray stops a job that waits for resources only when it gets them: no use in waiting long for that."""
        running = follower.info is not None and follower.info.status != "PENDING"
        try:
            return await self.stop(submission_id, seconds=STOP_SECONDS if running else PENDING_STOP_SECONDS)
        except DeadlinePassed as still_there:
            raise DeadlinePassed(f"{passed.what} {still_there.what}", still_there.remedy) from passed

    @contextlib.contextmanager
    def _keeping_tail(
        self, submission_id: str, write: Callable[[bytes], None], *, whole: bool
    ) -> Iterator[Callable[[bytes], None]]:
        """`write`, which keeps the log's end for the ledger too, however the following ends."""
        if self.recorder is None or not whole:
            yield write
            return
        from .ledger.store import TailBuffer

        buffer = TailBuffer()

        def both(chunk: bytes) -> None:
            buffer.feed(chunk)
            write(chunk)

        try:
            yield both
        finally:
            self.recorder.tail(submission_id, buffer)

    async def print_log(self, submission_id: str, write: Callable[[bytes], None], *, offset: int = 0) -> None:
        """The log as it is now, from byte `offset` on."""
        await _pump(self.follower(submission_id, follow=False, offset=offset), write)

    async def wait(self, submission_ids: Sequence[str], *, deadline: Deadline | None = None) -> list[Result]:
        """Waits for all, in the order given; one request a poll. Raises UnknownJob, DeadlinePassed, Unreachable."""
        if len(submission_ids) == 1:
            try:
                info = await self.client.wait(
                    submission_ids[0], deadline=deadline, patience=self.patience, on_change=self._on_change
                )
            except JobLost:
                return [self._lost(submission_ids[0])]
            return [Result(info.submission_id, info.status, info)]
        return await self._wait_for_many(submission_ids, deadline or Deadline(None))

    async def _wait_for_many(self, submission_ids: Sequence[str], deadline: Deadline) -> list[Result]:
        results: dict[str, Result] = {}
        statuses: dict[str, str] = {}
        while True:
            try:
                await self._look_at_many(submission_ids, deadline, results, statuses)
            except Unreachable:
                if not deadline.passed:
                    raise
            if len(results) == len(set(submission_ids)):
                return [results[each] for each in submission_ids]
            if deadline.passed:
                left = [each for each in submission_ids if each not in results]
                raise DeadlinePassed(
                    f"{len(left)} of {len(submission_ids)} jobs have not ended after {deadline.seconds:.0f} s: "
                    f"{', '.join(left[:5])}{', ...' if len(left) > 5 else ''}."
                )
            await asyncio.sleep(min(1.0, max(0.01, deadline.left)))

    async def _look_at_many(
        self, submission_ids: Sequence[str], deadline: Deadline, results: dict[str, Result], statuses: dict[str, str]
    ) -> None:
        """One poll: those that have ended come into `results`."""
        patience = min(self.patience, deadline.left)
        jobs = {job.submission_id: job for job in await self.client.list(Deadline(patience))}
        for each in submission_ids:
            if each in results:
                continue
            info = jobs.get(each)
            if info is None:
                try:
                    info = await self.client.look(each, seen=each in statuses, patience=min(patience, deadline.left))
                except JobLost:
                    results[each] = self._lost(each)
                    continue
            if statuses.get(each) != info.status:
                statuses[each] = info.status
                self._on_change(info)
            if info.ended:
                results[each] = Result(each, info.status, info)
            await self.client.orphans.wake(info)

    async def stop(self, submission_id: str, *, seconds: float = STOP_SECONDS, wait: bool = True) -> JobInfo:
        """Stops the job and waits for its end. DeadlinePassed with a report when it does not end in time."""
        deadline = Deadline(seconds)
        info = await self.client.get(submission_id, deadline)
        if info.ended:
            self.note(f"Job {submission_id} had ended: {info.status}.")
            return self.saw(info)
        await self.client.stop(submission_id, deadline)
        if not wait:
            return info
        try:
            ended = await self.client.wait(submission_id, deadline=deadline, patience=seconds, poll=0.5, seen=True)
            return self.saw(ended)
        except DeadlinePassed:
            info = await self.client.get(submission_id)
            if info.ended:
                return self.saw(info)
            raise DeadlinePassed(
                f"Job {submission_id} was asked to stop and is still {info.status} after {seconds:.0f} s. "
                f"Ray says: {info.message}",
                "A job that waits for resources stops when it gets them; `why` tells what it waits for.",
            ) from None

    async def delete(self, submission_id: str) -> None:
        """Removes the server's record of a job that has ended."""
        await self.client.delete(submission_id)
        if self.recorder is not None:
            from .ledger.store import DELETED

            self.recorder.status(submission_id, DELETED)

    def saw(self, info: JobInfo) -> JobInfo:
        """The same job, and a note of its state in the ledger."""
        if self.recorder is not None:
            self.recorder.seen([info])
        return info


async def _pump(follower: LogFollower, write: Callable[[bytes], None]) -> None:
    async with aclosing(follower.chunks()) as chunks:
        async for chunk in chunks:
            write(chunk)


async def log_chunks(follower: LogFollower) -> AsyncGenerator[bytes, None]:
    async with aclosing(follower.chunks()) as chunks:
        async for chunk in chunks:
            yield chunk


__all__ = ["JobsError", "Prepared", "Request", "Session", "in_thread", "log_chunks", "prepare"]
