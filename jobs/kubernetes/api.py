"""The Kubernetes API: one edge on kr8s for `rayjobs` and the Pulumi program, with deadlines and errors for people."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

from kr8s import APITimeoutError, ServerError

from ..activity import activity
from ..dashboard._httpx import httpx
from ..dashboard.http import read_answer, reason
from ..deadline import Deadline, bounded
from ..errors import Forbidden, JobsError, KubeError, NotAllowed, NotThere, Refused, Unreachable
from ..spec.shown import shown
from .kubeconfig import read_kubeconfig
from .login import log_in
from .paths import check_path, resource_path, segment

T = TypeVar("T")

API_SECONDS = 20.0
JSON = "application/json"
# The largest answer, in bytes: a list of all pods of a large namespace has some ten MB.
MOST_BYTES = 256 * 1024**2


class Kube:
    """One context of one kubeconfig.

    Attributes:
        api: the client of kr8s.
        where: name of the API server in error messages.
        seconds: deadline of each request.
        in_pod: whether this is the cluster of the pod in which this process runs, with the pod's own ServiceAccount.

    Every call raises only errors of `jobs.errors`.
    """

    def __init__(self, api: Any, where: str, seconds: float = API_SECONDS, *, in_pod: bool = False) -> None:
        self.api = api
        self.where = where
        self.seconds = seconds
        self.in_pod = in_pod

    @classmethod
    async def open(cls, kubeconfig: str | None, context: str | None, *, seconds: float = API_SECONDS) -> Kube:
        """Connects to the API server.

        Args:
            kubeconfig: path of a kubeconfig; None or empty: the usual rules.
            context: name of a context; None or empty: the current one.
            seconds: deadline of each request.

        Raises:
            Refused: the kubeconfig or the context cannot be used.
            Unreachable: the server does not answer, or it refuses the credentials.
        """
        config = read_kubeconfig(kubeconfig, option="--kubeconfig")
        name = config.choose(context, option="--context") if config else None
        where = f"the Kubernetes API (context {name})" if name else "the Kubernetes API (service account)"
        api = await _bounded(log_in(config, name or ""), where, "/version", seconds)
        api.timeout = httpx.Timeout(seconds)
        return cls(api, where, seconds, in_pod=config is None)

    async def close(self) -> None:
        session = getattr(self.api, "_session", None)
        if session is not None:
            with contextlib.suppress(Exception):
                await session.aclose()

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: Mapping[str, str] | None = None,
        content_type: str = JSON,
        accept: str = JSON,
        subject: str = "",
    ) -> dict[str, Any]:
        """Sends one request and returns the JSON of the answer.

        Args:
            method: HTTP method.
            path: absolute path, such as `/api/v1/namespaces/x`; see `resource_path`.
            body: content of the request; sent as JSON.
            params: parameters of the query.
            content_type: media type of the body.
            accept: media type of the answer.
            subject: name of the object in error messages. Default: the path.

        Raises:
            Refused: a segment of the path is no name.
            NotThere: HTTP 404.
            Forbidden: HTTP 403.
            NotAllowed: HTTP 401, after a new login too.
            KubeError: any other HTTP error.
            Unreachable: no answer in time.
        """
        check_path(path)
        base, _, last = path.rpartition("/")
        content = None if body is None else json.dumps(body)
        headers = {"Content-Type": content_type, "Accept": accept, "Accept-Encoding": "identity"}
        subject = subject or path

        async def call() -> tuple[int, dict[str, Any]]:
            # With `raise_for_status` kr8s answers a 401 or 403 by closing the session, which tunnels share.
            async with self.api.call_api(
                method,
                base=base,
                version="",
                url=last,
                params=dict(params or {}),
                headers=headers,
                content=content,
                raise_for_status=False,
                stream=True,
            ) as response:
                return response.status_code, _json(await read_answer(response, self.where, MOST_BYTES))

        status, answer = await _bounded(call(), self.where, subject, self.seconds)
        if status == 401:
            await self._log_in_again()
            status, answer = await _bounded(call(), self.where, subject, self.seconds)
        if status >= 400:
            raise error_of_status(status, str(answer.get("message", "")), self.where, subject)
        return answer

    async def get(
        self,
        plural: str,
        name: str = "",
        *,
        namespace: str = "",
        version: str = "v1",
        params: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Reads an object, or a list without a name, such as `pods` in `namespace`. Raises as `request`."""
        subject = f"{plural}{f'/{name}' if name else ''}{f' in namespace {namespace}' if namespace else ''}"
        path = resource_path(version, plural, name, namespace)
        return await self.request("GET", path, params=params, subject=subject)

    async def _log_in_again(self) -> None:
        """Logs in again: a token from a login helper may have expired."""
        await _bounded(self.api.reauthenticate(), self.where, "a new login", self.seconds)
        await _bounded(self.api._create_session(), self.where, "a new login", self.seconds)

    async def cluster_uid(self) -> str:
        """Reads the UID of the namespace `kube-system`: the cluster's identity."""
        metadata = (await self.get("namespaces", "kube-system")).get("metadata")
        uid = metadata.get("uid") if isinstance(metadata, dict) else None
        if not isinstance(uid, str):
            raise KubeError(f"{self.where} answered in another form than Kubernetes: kube-system has no UID.")
        return uid

    async def secret_value(self, namespace: str, name: str, key: str) -> str:
        """Reads one value of a Secret, decoded. Raises NotThere."""
        try:
            secret = await self.get("secrets", name, namespace=namespace)
        except NotThere:
            raise NotThere(
                f"There is no Secret {namespace}/{name} with Ray's token.",
                "The operator creates it when the cluster starts. Does the RayCluster exist?",
            ) from None
        data = secret.get("data")
        value = data.get(key) if isinstance(data, dict) else None
        if not isinstance(value, str):
            raise NotThere(f"The Secret {namespace}/{name} has no key {key!r}.")
        try:
            return base64.b64decode(value, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise NotThere(f"The value of {key!r} in Secret {namespace}/{name} is not text.") from None

    async def pods(self, namespace: str, selector: Mapping[str, str]) -> list[dict[str, Any]]:
        """Lists the pods with these labels."""
        labels = ",".join(f"{key}={value}" for key, value in sorted(selector.items()))
        answer = await self.get("pods", namespace=namespace, params={"labelSelector": labels})
        return items_of(answer, self.where)

    async def execute(
        self, namespace: str, pod: str, container: str, command: list[str], seconds: float = 60.0
    ) -> tuple[int, bytes, bytes]:
        """Runs a command in a container and returns its exit code, stdout and stderr."""
        from kr8s.asyncio.objects import Pod

        folder, name = segment(namespace), segment(pod)

        async def call() -> tuple[int, bytes, bytes]:
            target = Pod({"metadata": {"name": name, "namespace": folder}}, namespace=folder, api=self.api)
            done = await target.exec(command, container=container, check=False)
            return int(done.returncode), bytes(done.stdout), bytes(done.stderr)

        return await _bounded(call(), self.where, f"a command in pod {namespace}/{pod}", seconds)


async def _bounded(work: Awaitable[T], where: str, subject: str = "", seconds: float = API_SECONDS) -> T:
    """Waits for the awaitable, at most `seconds`. Raises only errors of jobs.errors."""
    try:
        with activity(f"Waiting for an answer from {where}", Deadline(seconds)):
            return await bounded(work, seconds)
    except (asyncio.TimeoutError, APITimeoutError):
        raise Unreachable(
            f"{where} did not answer within {seconds:.0f} s{f' ({subject})' if subject else ''}.",
            "Is the cluster running, and is a VPN needed?",
        ) from None
    except JobsError:
        raise
    except Exception as error:
        raise error_of_exception(error, where, subject) from error


def error_of_exception(error: BaseException, where: str, subject: str) -> JobsError:
    """Converts an exception of kr8s into an error of jobs.errors."""
    while inner := getattr(error, "exceptions", None):
        error = inner[0]  # a group of tasks wraps its errors
    status = status_of(error)
    if status:
        return error_of_status(status, str(error), where, subject)
    if isinstance(error, httpx.TransportError | OSError) and not isinstance(error, FileNotFoundError):
        return Unreachable(f"Cannot reach {where}: {reason(error)}", _hint(error))
    if isinstance(error, FileNotFoundError):
        return Refused(
            f"{where}: a file or program that the kubeconfig names is missing: {error.filename or error}",
            "Install the login helper, or fix the kubeconfig.",
        )
    return Unreachable(
        f"{where}: {type(error).__name__}: {shown(str(error), 300)}", "Is the kubeconfig's user complete?"
    )


def _hint(error: BaseException) -> str:
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return (
            "Check the kubeconfig's cluster: certificate-authority, tls-server-name; without the first, SSL_CERT_FILE."
        )
    if isinstance(error, httpx.ProxyError):
        return "Check proxy-url of the kubeconfig, or HTTPS_PROXY, ALL_PROXY and NO_PROXY of the environment."
    return "Is the cluster running, and is a VPN needed?"


def error_of_status(status: int, message: str, where: str, subject: str) -> JobsError:
    """Converts an HTTP error of the API server into an error of jobs.errors.

    Args:
        status: HTTP status.
        message: the server's own message.
        where: name of the API server in error messages.
        subject: name of the object in error messages.
    """
    if status == 401:
        return NotAllowed(
            f"{where} does not accept the credentials (HTTP 401): they may have expired.",
            "Log in again; `kubectl get pods` with the same context shows whether it worked.",
        )
    if status == 403:
        detail = f" {shown(message, 300)}" if message else ""
        return Forbidden(
            f"{where} does not allow it (RBAC): {subject}.{detail}", "Ask for the Role in docs/jobs-rbac.yaml."
        )
    if status == 404:
        return NotThere(f"{where} has no {subject}.")
    return KubeError(f"{where} answered HTTP {status}{f' to {subject}' if subject else ''}: {shown(message, 300)}")


def _json(response: httpx.Response) -> dict[str, Any]:
    try:
        value = json.loads(response.content)
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {"message": response.text}


def items_of(answer: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    """Returns the objects of a list, each with a name. Raises KubeError for an answer that is no list of objects."""
    items = answer.get("items") or []
    if not isinstance(items, list) or not all(_has_name(item) for item in items):
        raise KubeError(f"{where} answered in another form than Kubernetes: its items are no objects with names.")
    return items


def _has_name(item: Any) -> bool:
    metadata = item.get("metadata") if isinstance(item, dict) else None
    return isinstance(metadata, dict) and isinstance(metadata.get("name"), str)


def status_of(error: BaseException) -> int:
    """Returns the HTTP status of the answer in an exception; 0: it has none."""
    response = getattr(error, "response", None)
    if isinstance(error, ServerError) or response is not None:
        return int(getattr(response, "status_code", 0) or 0)
    return 0
