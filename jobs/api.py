"""The Python API: `connect` for scripts, `connect_async` for programs with an event loop, with the same methods.

with connect() as client:
    job = client.submit("python script.py", working_dir=".")
    for chunk in job.logs(follow=True):
        sys.stdout.buffer.write(chunk)
    job.wait(timeout=3600).check()
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterator, Mapping
from contextlib import asynccontextmanager
from html import escape
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from .background import DetachedThreads
from .deadline import Deadline
from .errors import JobsError
from .notebook import LiveDisplay, live_display
from .session import Session, open_session
from .spec.job_html import job_html
from .spec.job_info import JobInfo, Result
from .spec.job_spec import JobFields, JobRequest, JobSpec
from .submit import PreparedJob, prepare
from .target.options import TargetOptions
from .target.resolve import resolve

if TYPE_CHECKING:
    from typing_extensions import Unpack  # typing.Unpack needs Python 3.11.

T = TypeVar("T")

# How long a notebook may take to show a job.
SHOW_SECONDS = 10.0
# How often the caller's loop wakes while it waits.
WAKE_SECONDS = 1.0


class ConnectOptions(TypedDict, total=False):
    """The keyword arguments of `connect`; `connect_async` explains them."""

    outputs: str | Path | None
    stack: str | None
    cluster: str | None
    local: bool
    context: str | None
    kubeconfig: str | Path | None
    token_file: str | Path | None
    headers: Mapping[str, str] | None
    verify: bool | str
    allow_unauthenticated: bool
    ledger: str | Path | None
    patience: float
    note: Callable[[str], None]


class SubmitOptions(JobFields, total=False):
    """The keyword arguments of `Client.submit`; `AsyncClient.submit` explains them."""

    submission_id: str | None
    key: str | None
    timeout: float


class AsyncClient:
    """The jobs of one Ray cluster, for programs with an event loop. Made by `connect_async`.

    A method that takes a `submission_id` takes Ray's job id too, such as `03000000`. A driver that was not submitted
    has only a job id: `get` and `wait` work with it, the other methods raise Refused.

    Every method raises NotAllowed, Unreachable or ServerFault if Ray or Kubernetes does not give a usable answer. Each
    error is a `JobsError` whose text says what to do next.

    Attributes:
        url: Where this process reaches the Jobs API while the client is open.
    """

    def __init__(self, session: Session, url: str) -> None:
        self.session = session
        self.url = url

    async def submit(
        self,
        entrypoint: str,
        *,
        submission_id: str | None = None,
        key: str | None = None,
        timeout: float = 120.0,
        **fields: Unpack[JobFields],
    ) -> AsyncJob:
        """Submits a job exactly once, also when an answer is lost or the connection drops.

        The arguments from `runtime_env` on are those of Ray's job submission API
        (https://docs.ray.io/en/latest/cluster/running-applications/job-submission/).

        Args:
            entrypoint: The shell command to run.
            submission_id: The job's id: 1 to 128 letters, digits, '.', '_' or '-'. If a job with this id exists and has
                the same content, that job is returned. Random by default.
            key: A text from which the id is derived, such as `nightly-2026-11-23`: the same key is the same job. Not
                together with `submission_id`.
            working_dir: A local directory or archive, uploaded if the server lacks it, or the URI of a package.
            runtime_env: Ray's runtime environment: `pip`, `env_vars`, `excludes`, ... Of files that `pip`, `uv` and
                `conda` name, the content is sent. Modules in `py_modules` (directories, `.py` files, wheels, archives,
                imported modules) are uploaded like the working_dir.
            metadata: Texts that are stored with the job. Keys must not begin with `rayjobs.`.
            entrypoint_num_cpus: CPUs to reserve for the entrypoint. None by default.
            entrypoint_num_gpus: GPUs to reserve for the entrypoint. None by default.
            entrypoint_memory: Memory to reserve for the entrypoint, in bytes. None by default.
            entrypoint_resources: Custom resources to reserve for the entrypoint.
            entrypoint_label_selector: Labels that the entrypoint's node must have.
            timeout: How long the server may take to accept the job, in seconds. An upload has 10 minutes of its own.

        Returns:
            The job.

        Raises:
            Refused: The arguments cannot be used.
            PackageTooLarge: The working directory or a module is larger than the server accepts.
            SourceChanged: A file of the working directory or a module changed while it was packed.
            Conflict: Another job has this `submission_id` or `key`.
            JobLost: The job was accepted before, and the server no longer knows it.
            DeadlinePassed: The server did not accept the job within `timeout`.
        """
        request = JobRequest(JobSpec.from_fields(entrypoint, **fields), submission_id, key)
        recorder = self.session.recorder

        async def prepare_request() -> PreparedJob:
            return await prepare(request, ledger=recorder.ledger.path if recorder else None)

        job = await prepare_request()
        _, submission = await self.session.submit_or_prepare_again(job, prepare_request, seconds=timeout)
        return AsyncJob(self, submission.submission_id)

    def job(self, submission_id: str) -> AsyncJob:
        """Returns a job that was submitted before. The server is not asked yet."""
        return AsyncJob(self, submission_id)

    async def get(self, submission_id: str) -> JobInfo:
        """Returns the job as the server has it now.

        Raises:
            UnknownJob: The server knows no job with this id.
        """
        return await self.session.watcher.get_job(submission_id)

    async def list(self) -> list[JobInfo]:
        """Returns all jobs that the server knows, oldest first, and drivers that were not submitted as jobs."""
        return await self.session.watcher.list_jobs()

    async def wait(self, submission_id: str, *, timeout: float | None = None) -> Result:
        """Waits until the job has ended. In a notebook the job is shown, and the display changes with it.

        Args:
            submission_id: The job.
            timeout: How long to wait, in seconds. None, the default, waits for as long as the job takes.

        Returns:
            The result. Its status is SUCCEEDED, FAILED, STOPPED or LOST; `Result.check()` raises unless it succeeded.

        Raises:
            UnknownJob: The server knows no job with this id.
            DeadlinePassed: The job has not ended within `timeout`. It keeps running.
        """
        display = live_display()
        if display is not None:
            return await self._wait_and_show(submission_id, Deadline(timeout), display)
        return (await self.session.wait([submission_id], deadline=Deadline(timeout)))[0]

    async def _wait_and_show(self, submission_id: str, deadline: Deadline, display: LiveDisplay) -> Result:
        from .diagnose.pending import PendingReasons

        reasons = PendingReasons(self.session.connection)

        def describe(job: JobInfo) -> str:
            reason = reasons.describe(job)
            display.show(job, reason)
            return reason

        try:
            (result,) = await self.session.wait([submission_id], deadline=deadline, describe=describe)
        finally:
            await reasons.close()
        job = result.info or JobInfo(result.submission_id, result.status)
        display.show(job._replace(status=result.status), await self._failure_reason(job))
        return result

    async def _failure_reason(self, job: JobInfo) -> str:
        from .diagnose.ending import end_of_failed_job, failure_reason

        return failure_reason(job, await end_of_failed_job(self.session.client, job)) if job.status == "FAILED" else ""

    async def _html_of(self, submission_id: str) -> str:
        job = await self.session.watcher.get_job(submission_id, Deadline(SHOW_SECONDS))
        return job_html(job, await self._failure_reason(job))

    def logs(self, submission_id: str, *, follow: bool = False, offset: int = 0) -> AsyncGenerator[bytes, None]:
        """Reads the job's log, each byte once and in order, also when connections drop.

        Args:
            submission_id: The job.
            follow: Whether to continue until the job has ended. By default only the present log is read.
            offset: How many bytes at the beginning to leave out.

        Yields:
            The log in pieces of any size.

        Raises:
            UnknownJob: The server knows no job with this id.
        """
        return self.session.read_log(submission_id, follow=follow, offset=offset)

    async def stop(self, submission_id: str, *, timeout: float = 60.0) -> JobInfo:
        """Stops the job and waits until it has ended. A job that has ended already is left unchanged.

        Args:
            submission_id: The job.
            timeout: How long to wait, in seconds.

        Returns:
            The job after its end.

        Raises:
            UnknownJob: The server knows no job with this id.
            DeadlinePassed: The job was asked to stop and has not ended within `timeout`.
        """
        return await self.session.stop(submission_id, seconds=timeout)

    async def delete(self, submission_id: str) -> None:
        """Deletes the server's record of a job that has ended. Its log file stays on the node.

        Raises:
            UnknownJob: The server knows no job with this id.
            Refused: The job has not ended.
        """
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
    """Connects to a Ray cluster for as long as the `async with` block runs.

    The target is the first of: `local`, `address`, `outputs` or `stack`; the outputs file that RAYJOBS_OUTPUTS names;
    the selected stack of the Pulumi project around the working directory; `~/.config/rayjobs/outputs.json`. For a
    cluster of a stack, a tunnel through the Kubernetes API is opened and closed with the block.

    Args:
        address: URL of a Jobs API, such as `http://127.0.0.1:8265`.
        outputs: An outputs file, which `make outputs` writes.
        stack: A stack of the Pulumi project around the working directory.
        cluster: The name of the RayCluster, if the stack has several.
        local: Use a Ray on this machine, which is started on first use.
        context: The kube context, if it has another name here than in the stack.
        kubeconfig: The kubeconfig. By default the stack's, or KUBECONFIG.
        token_file: With `address`: a file with the token. By default RAY_AUTH_TOKEN, or the file RAY_AUTH_TOKEN_PATH.
        headers: Headers for every request. By default RAY_JOB_HEADERS.
        verify: With `address`: whether to verify TLS, or the path of a CA file.
        allow_unauthenticated: Accept an `address` of another machine without a token.
        ledger: The file of the local job history. By default RAYJOBS_LEDGER, or a file of this user.
        patience: How long a method keeps trying without any answer, in seconds, before it raises Unreachable. A server
            that was never reached is tried for 5 seconds.
        note: Called with messages for a person, such as the progress of a job.

    Yields:
        The client.

    Raises:
        Refused: The arguments name no target, or more than one.
        LocalFault: Something on this machine is missing, such as the Pulumi CLI, or Ray for `local`.
        NotAllowed: Ray or Kubernetes does not accept the credentials.
        Unreachable: The cluster does not answer.
    """
    options = TargetOptions(
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
    target = resolve(options, notify=note)
    async with open_session(target, ledger=ledger, notify=note, patience=patience) as session:
        yield AsyncClient(session, session.connection.url)


class AsyncJob:
    """A job of an `AsyncClient`. Each method asks the server again; `await job` is `await job.wait()`.

    Attributes:
        submission_id: The job's id.
    """

    def __init__(self, client: AsyncClient, submission_id: str) -> None:
        self._client = client
        self.submission_id = submission_id

    def __repr__(self) -> str:
        return f"AsyncJob({self.submission_id!r})"

    def __await__(self) -> Generator[Any, None, Result]:
        return self.wait().__await__()

    async def info(self) -> JobInfo:
        """Returns the job as the server has it now. Raises UnknownJob."""
        return await self._client.get(self.submission_id)

    async def wait(self, timeout: float | None = None) -> Result:
        """Waits until the job has ended. See `AsyncClient.wait`."""
        return await self._client.wait(self.submission_id, timeout=timeout)

    def logs(self, *, follow: bool = False, offset: int = 0) -> AsyncGenerator[bytes, None]:
        """Reads the job's log in pieces, each byte once. See `AsyncClient.logs`."""
        return self._client.logs(self.submission_id, follow=follow, offset=offset)

    async def stop(self, timeout: float = 60.0) -> JobInfo:
        """Stops the job and waits until it has ended. See `AsyncClient.stop`."""
        return await self._client.stop(self.submission_id, timeout=timeout)

    async def delete(self) -> None:
        """Deletes the server's record of the job, which must have ended. See `AsyncClient.delete`."""
        await self._client.delete(self.submission_id)


class Job:
    """A job of a `Client`. Each property and method asks the server again.

    `await job` waits for the end too, for programs with an event loop and for notebooks: the loop is not blocked. A
    notebook shows a job as a table: its state, its duration, and why it failed.

    Attributes:
        submission_id: The job's id.
    """

    def __init__(self, client: Client, submission_id: str) -> None:
        self._client = client
        self.submission_id = submission_id

    def __repr__(self) -> str:
        return f"Job({self.submission_id!r})"

    def _repr_html_(self) -> str | None:
        """The job in a notebook. None, for the text of __repr__, if the client is closed."""
        return self._client._html_of(self.submission_id)

    def __await__(self) -> Generator[Any, None, Result]:
        return self._client._wait_in_loop(self.submission_id).__await__()

    @property
    def info(self) -> JobInfo:
        """The job as the server has it now. Raises UnknownJob."""
        return self._client.get(self.submission_id)

    @property
    def status(self) -> str:
        """PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED. Raises UnknownJob."""
        return self.info.status

    def wait(self, timeout: float | None = None) -> Result:
        """Waits until the job has ended. See `AsyncClient.wait`."""
        return self._client.wait(self.submission_id, timeout=timeout)

    def logs(self, *, follow: bool = False, offset: int = 0) -> Iterator[bytes]:
        """Reads the job's log in pieces, each byte once. See `AsyncClient.logs`."""
        return self._client.logs(self.submission_id, follow=follow, offset=offset)

    def stop(self, timeout: float = 60.0) -> JobInfo:
        """Stops the job and waits until it has ended. See `AsyncClient.stop`."""
        return self._client.stop(self.submission_id, timeout=timeout)

    def delete(self) -> None:
        """Deletes the server's record of the job, which must have ended. See `AsyncClient.delete`."""
        self._client.delete(self.submission_id)


class Client:
    """The jobs of one Ray cluster, for scripts and notebooks: the methods of `AsyncClient`, blocking.

    Made by `connect`. It runs an event loop in its own thread, so it works in programs and notebooks whose loop is
    running. Ctrl-C, or "interrupt the kernel", during `wait` and `logs` raises KeyboardInterrupt: the job keeps
    running, and the client can still be used.
    """

    def __init__(self, address: str | None = None, **options: Unpack[ConnectOptions]) -> None:
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(DetachedThreads())
        self._thread = threading.Thread(target=self._loop.run_forever, name="rayjobs", daemon=True)
        self._thread.start()
        self._context = connect_async(address, **options)
        self._async: AsyncClient | None = None
        try:
            self._async = self._call(self._context.__aenter__())
        except BaseException:
            self._end_loop()
            raise

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection, as the end of the `with` block does. Jobs keep running."""
        if self._async is None:
            return
        try:
            self._call(self._context.__aexit__(None, None, None))
        finally:
            self._async = None
            self._end_loop()

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs `work` in the client's loop. Ctrl-C ends it, and is raised when it has ended."""
        task: asyncio.Task[T] | None = None
        ended = threading.Event()

        def begin() -> None:
            nonlocal task
            task = self._loop.create_task(work)
            task.add_done_callback(lambda _task: ended.set())

        def cancel() -> None:
            assert task is not None  # The loop runs callbacks in the order in which they came.
            task.cancel()

        self._loop.call_soon_threadsafe(begin)
        try:
            ended.wait()
        except BaseException:
            self._loop.call_soon_threadsafe(cancel)
            ended.wait()
            raise
        assert task is not None
        return task.result()

    async def _wait_in_loop(self, submission_id: str) -> Result:
        work = self._client.wait(submission_id)
        result = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))
        try:
            # A notebook's kernel acts on its interrupt when its loop wakes.
            while not (await asyncio.wait([result], timeout=WAKE_SECONDS))[0]:
                pass
        except asyncio.CancelledError:  # In a notebook, the cell was interrupted.
            result.cancel()
            raise asyncio.CancelledError(_detached(submission_id)) from None
        return result.result()

    def _html_of(self, submission_id: str) -> str | None:
        if self._async is None:
            return None
        try:
            return self._call(self._async._html_of(submission_id))
        except JobsError as error:
            return escape(f"Job {submission_id}: {error.message}")

    @property
    def _client(self) -> AsyncClient:
        if self._async is None:
            raise RuntimeError("The client is closed: connect again.")
        return self._async

    @property
    def url(self) -> str:
        """Where this process reaches the Jobs API while the client is open."""
        return self._client.url

    def submit(self, entrypoint: str, **options: Unpack[SubmitOptions]) -> Job:
        """Submits a job exactly once.

        Args:
            entrypoint: The shell command to run.
            **options: The arguments of `AsyncClient.submit`, which also names what is raised.

        Returns:
            The job.
        """
        return Job(self, self._call(self._client.submit(entrypoint, **options)).submission_id)

    def job(self, submission_id: str) -> Job:
        """Returns a job that was submitted before. The server is not asked yet."""
        return Job(self, submission_id)

    def get(self, submission_id: str) -> JobInfo:
        """Returns the job as the server has it now. Raises UnknownJob."""
        return self._call(self._client.get(submission_id))

    def list(self) -> list[JobInfo]:
        """Returns all jobs that the server knows, oldest first, and drivers that were not submitted as jobs."""
        return self._call(self._client.list())

    def wait(self, submission_id: str, *, timeout: float | None = None) -> Result:
        """Waits until the job has ended. See `AsyncClient.wait`."""
        try:
            return self._call(self._client.wait(submission_id, timeout=timeout))
        except KeyboardInterrupt:
            raise KeyboardInterrupt(_detached(submission_id)) from None

    def stop(self, submission_id: str, *, timeout: float = 60.0) -> JobInfo:
        """Stops the job and waits until it has ended. See `AsyncClient.stop`."""
        return self._call(self._client.stop(submission_id, timeout=timeout))

    def delete(self, submission_id: str) -> None:
        """Deletes the server's record of a job that has ended. See `AsyncClient.delete`."""
        self._call(self._client.delete(submission_id))

    def logs(self, submission_id: str, *, follow: bool = False, offset: int = 0) -> Iterator[bytes]:
        """Reads the job's log in pieces, each byte once. See `AsyncClient.logs`."""
        chunks = self._client.logs(submission_id, follow=follow, offset=offset)

        async def next_chunk() -> bytes | None:
            return await anext(chunks, None)

        try:
            while (chunk := self._call(next_chunk())) is not None:
                offset += len(chunk)
                yield chunk
        except KeyboardInterrupt:
            raise KeyboardInterrupt(_detached(submission_id, offset)) from None
        finally:
            if self._async is not None:
                self._call(chunks.aclose())


def _detached(submission_id: str, offset: int | None = None) -> str:
    """Returns the text of an interrupt.

    Args:
        submission_id: The job.
        offset: The next byte of the log that was read.
    """
    again = f"client.wait({submission_id!r}) waits for it again"
    if offset is not None:
        again = f"client.logs({submission_id!r}, follow=True, offset={offset}) continues its log"
    return f"Detached. Job {submission_id} keeps running.\n  {again}, client.stop({submission_id!r}) stops it."


def connect(address: str | None = None, **options: Unpack[ConnectOptions]) -> Client:
    """Connects to a Ray cluster.

    Args:
        address: URL of a Jobs API. By default a cluster of a stack.
        **options: The arguments of `connect_async`, which also names what is raised.

    Returns:
        A client. The end of `with connect() as client:` closes it. In a notebook, where a block has to fit into one
        cell, `client = connect()` stays open until `client.close()`.
    """
    return Client(address, **options)
