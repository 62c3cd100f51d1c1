"""The Python API: `connect` for scripts, `connect_async` for programs with an event loop; the same promises.

with connect() as client:
    job = client.submit(entrypoint="python script.py", working_dir=".")
    for chunk in job.logs(follow=True):
        sys.stdout.buffer.write(chunk)
    job.wait(timeout=3600).check()
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from . import connection as connections
from .deadline import Deadline
from .ledger.recorder import Recorder, place_of
from .ledger.store import Ledger
from .session import Request, Session, log_chunks, prepare
from .spec.job_info import JobInfo, Result
from .target.resolve import Options, resolve

T = TypeVar("T")


class AsyncClient:
    """The Jobs API of one Ray cluster. Every method raises errors of jobs.errors, whose text says what to do next."""

    def __init__(self, session: Session, url: str) -> None:
        self.session = session
        self.url = url

    async def submit(
        self,
        entrypoint: str,
        *,
        submission_id: str | None = None,
        key: str | None = None,
        working_dir: str | Path | None = None,
        runtime_env: Mapping[str, Any] | None = None,
        metadata: Mapping[str, str] | None = None,
        entrypoint_num_cpus: float | None = None,
        entrypoint_num_gpus: float | None = None,
        entrypoint_memory: int | None = None,
        entrypoint_resources: Mapping[str, float] | None = None,
        entrypoint_label_selector: Mapping[str, str] | None = None,
        timeout: float = 120.0,
    ) -> str:
        """Submits exactly once and returns the submission id; `timeout` in seconds is for the acceptance.

        A local `working_dir` is uploaded if the server lacks it. Raises Refused, Conflict (other content under this
        id or key), NotAllowed, Unreachable, DeadlinePassed.
        """
        request = Request(
            entrypoint=entrypoint,
            submission_id=submission_id,
            key=key,
            working_dir=None if working_dir is None else str(working_dir),
            runtime_env=runtime_env or {},
            metadata=metadata or {},
            entrypoint_num_cpus=entrypoint_num_cpus,
            entrypoint_num_gpus=entrypoint_num_gpus,
            entrypoint_memory=entrypoint_memory,
            entrypoint_resources=entrypoint_resources,
            entrypoint_label_selector=entrypoint_label_selector,
        )
        submission = await self.session.submit(await prepare(request), seconds=timeout)
        return submission.submission_id

    async def get(self, submission_id: str) -> JobInfo:
        """The job as the server has it. Raises UnknownJob."""
        return await self.session.client.get(submission_id)

    async def list(self) -> list[JobInfo]:
        """All jobs the server knows, oldest first."""
        return await self.session.client.list(settle=True)

    async def wait(self, submission_id: str, *, timeout: float | None = None) -> Result:
        """The result once the job has ended (LOST included). Raises DeadlinePassed after `timeout` seconds."""
        return (await self.session.wait([submission_id], deadline=Deadline(timeout)))[0]

    def logs(self, submission_id: str, *, follow: bool = False, offset: int = 0) -> AsyncGenerator[bytes, None]:
        """The log's bytes from `offset` on, each once; with `follow` to the end of the job."""
        return log_chunks(self.session.follower(submission_id, follow=follow, offset=offset))

    async def stop(self, submission_id: str, *, timeout: float = 60.0) -> JobInfo:
        """Stops the job and waits for its end. Raises DeadlinePassed with a report if it does not end in time."""
        return await self.session.stop(submission_id, seconds=timeout)

    async def delete(self, submission_id: str) -> None:
        """Removes the record of a job that has ended."""
        await self.session.delete(submission_id)


@asynccontextmanager
async def connect_async(
    address: str | None = None,
    *,
    outputs: str | Path | None = None,
    stack: str | None = None,
    cluster: str | None = None,
    local: bool = False,
    context: str | None = None,
    kubeconfig: str | Path | None = None,
    token_file: str | Path | None = None,
    headers: Mapping[str, str] | None = None,
    verify: bool | str = True,
    allow_unauthenticated: bool = False,
    ledger: str | Path | None = None,
    patience: float = 300.0,
    note: Callable[[str], None] = lambda _text: None,
) -> AsyncIterator[AsyncClient]:
    """A client for as long as the context lasts; a tunnel, where one is needed, is opened and closed with it.

    The arguments are the command line's flags; `ledger` is a path, by default RAYJOBS_LEDGER or a file of this user's.
    `note` is told what a person at a terminal would be. `patience`:
    seconds without any answer until an operation that waits raises Unreachable.
    """
    options = Options(
        address=address,
        outputs=None if outputs is None else str(outputs),
        stack=stack,
        cluster=cluster,
        local=local,
        context=context,
        kubeconfig=None if kubeconfig is None else str(kubeconfig),
        token_file=None if token_file is None else str(token_file),
        headers=headers or {},
        verify=verify,
        allow_unauthenticated=allow_unauthenticated,
    )
    target = resolve(options, note=note)
    async with connections.connect(target, note=note) as connection:
        recorder = Recorder(
            Ledger(None if ledger is None else Path(ledger), note), place_of(target, connection.identity)
        )
        yield AsyncClient(Session(connection, note=note, patience=patience, recorder=recorder), connection.url)


class Job:
    """A job by its id; what it returns is asked of the server each time."""

    def __init__(self, client: Client, submission_id: str) -> None:
        self._client = client
        self.submission_id = submission_id

    def __repr__(self) -> str:
        return f"Job({self.submission_id!r})"

    @property
    def info(self) -> JobInfo:
        return self._client.get(self.submission_id)

    @property
    def status(self) -> str:
        return self.info.status

    def wait(self, timeout: float | None = None) -> Result:
        """The result once it has ended. Raises DeadlinePassed after `timeout` seconds; the job goes on."""
        return self._client.wait(self.submission_id, timeout=timeout)

    def logs(self, *, follow: bool = False, offset: int = 0) -> Iterator[bytes]:
        """The log's bytes in pieces, each byte once; with `follow` to the end of the job."""
        return self._client.logs(self.submission_id, follow=follow, offset=offset)

    def stop(self, timeout: float = 60.0) -> JobInfo:
        return self._client.stop(self.submission_id, timeout=timeout)

    def delete(self) -> None:
        self._client.delete(self.submission_id)


class Client:
    """AsyncClient for scripts: the same methods, blocking, over an event loop in a thread of its own."""

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="rayjobs", daemon=True)
        self._context: contextlib.AbstractAsyncContextManager[AsyncClient] | None = None
        self._async: AsyncClient | None = None

    def __enter__(self) -> Client:
        self._thread.start()
        self._context = connect_async(**self._options)
        try:
            self._async = self._call(self._context.__aenter__())
        except BaseException:
            self._end_loop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._context is not None:
                self._call(self._context.__aexit__(None, None, None))
        finally:
            self._async = None
            self._end_loop()

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # Ctrl-C in the script: the request goes no further.
            raise

    @property
    def _client(self) -> AsyncClient:
        if self._async is None:
            raise RuntimeError("The client is closed: use it inside its `with` block.")
        return self._async

    @property
    def url(self) -> str:
        """Where this process reaches the Jobs API, for as long as the client is open."""
        return self._client.url

    def submit(self, entrypoint: str, **options: Any) -> Job:
        """See AsyncClient.submit for the options and what is raised."""
        return Job(self, self._call(self._client.submit(entrypoint, **options)))

    def job(self, submission_id: str) -> Job:
        """A job that was submitted before; nothing is asked of the server yet."""
        return Job(self, submission_id)

    def get(self, submission_id: str) -> JobInfo:
        return self._call(self._client.get(submission_id))

    def list(self) -> list[JobInfo]:
        return self._call(self._client.list())

    def wait(self, submission_id: str, *, timeout: float | None = None) -> Result:
        return self._call(self._client.wait(submission_id, timeout=timeout))

    def stop(self, submission_id: str, *, timeout: float = 60.0) -> JobInfo:
        return self._call(self._client.stop(submission_id, timeout=timeout))

    def delete(self, submission_id: str) -> None:
        self._call(self._client.delete(submission_id))

    def logs(self, submission_id: str, *, follow: bool = False, offset: int = 0) -> Iterator[bytes]:
        chunks = self._client.logs(submission_id, follow=follow, offset=offset)

        async def following() -> bytes | None:
            return await anext(chunks, None)

        try:
            while (chunk := self._call(following())) is not None:
                yield chunk
        finally:
            self._call(chunks.aclose())


def connect(address: str | None = None, **options: Any) -> Client:
    """A blocking client, to be used as a context manager. See `connect_async` for the options."""
    return Client(address=address, **options)
