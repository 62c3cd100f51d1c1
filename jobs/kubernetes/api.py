"""The Kubernetes API as far as `jobs` needs it: a thin edge on kr8s with deadlines and errors for people."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import os
import tempfile
from collections.abc import Awaitable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import kr8s.asyncio
import yaml
from kr8s import APITimeoutError, ServerError

from ..dashboard._httpx import httpx
from ..dashboard.http import hint, reason
from ..deadline import bounded
from ..errors import Forbidden, JobsError, KubeError, NotAllowed, NotThere, Refused, Unreachable

T = TypeVar("T")

API_SECONDS = 20.0
SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


def kubeconfig_paths(kubeconfig: str | None, environ: Mapping[str, str] = os.environ) -> list[Path]:
    named = kubeconfig or environ.get("KUBECONFIG") or "~/.kube/config"
    return [Path(part).expanduser() for part in named.split(os.pathsep) if part]


def check_kubeconfig(
    kubeconfig: str | None, context: str | None, environ: Mapping[str, str] = os.environ
) -> tuple[str | None, str | None]:
    """(paths joined for kr8s, context name), or (None, None) for a pod's own service account.

    Raises Refused: no file, not a kubeconfig, a context that it does not have.
    """
    paths = kubeconfig_paths(kubeconfig, environ)
    there = [path for path in paths if path.exists()]
    if not there:
        if kubeconfig is None and "KUBERNETES_SERVICE_HOST" in environ and Path(SERVICE_ACCOUNT, "token").exists():
            return None, None
        raise Refused(
            f"There is no kubeconfig at {', '.join(map(str, paths))}.",
            "Name it with --kubeconfig or KUBECONFIG.",
        )
    contexts: dict[str, Any] = {}
    current = ""
    for path in there:
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise Refused(f"The kubeconfig {path} cannot be read: {error}.") from error
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            at = f" at line {mark.line + 1}" if mark is not None else ""
            raise Refused(f"The kubeconfig {path} is not YAML{at}.", "Mend it, or name another one.") from None
        if not isinstance(content, dict) or not isinstance(content.get("contexts") or [], list):
            raise Refused(f"{path} is not a kubeconfig: it has no list of contexts.", "Name another one.")
        for entry in content.get("contexts") or []:
            if isinstance(entry, dict) and isinstance(entry.get("name"), str):
                contexts.setdefault(entry["name"], entry)
        current = current or str(content.get("current-context") or "")
    known = ", ".join(sorted(contexts)) or "none"
    shown = ", ".join(map(str, there))
    wanted = context or current
    if not wanted:
        raise Refused(f"{shown} has no current context.", f"Choose one with --context. It has: {known}.")
    if wanted not in contexts:
        raise Refused(
            f"The kubeconfig {shown} has no context {wanted!r}.",
            f"It has: {known}. Where the stack's context has another name on this machine, give it with --context.",
        )
    return os.pathsep.join(map(str, there)), wanted


class Kube:
    """One context of one kubeconfig. Every call has a deadline and raises errors of jobs.errors only."""

    def __init__(self, api: Any, where: str) -> None:
        self.api = api
        self.where = where

    @classmethod
    async def open(cls, kubeconfig: str | None, context: str | None) -> Kube:
        paths, name = check_kubeconfig(kubeconfig, context)
        where = f"the Kubernetes API (context {name})" if name else "the Kubernetes API (service account)"
        # Every request names its namespace; without one here kr8s wants a current context in the first file.
        chosen = {"kubeconfig": paths, "context": name, "namespace": "default"}
        arguments: dict[str, Any] = chosen if paths else {"kubeconfig": False}
        api = await _bounded(kr8s.asyncio.api(**arguments), where)
        api.timeout = httpx.Timeout(API_SECONDS)
        return cls(api, where)

    async def close(self) -> None:
        session = getattr(self.api, "_session", None)
        if session is not None:
            with contextlib.suppress(Exception):
                await session.aclose()
        # kr8s writes a kubeconfig's inline key and certificate to temporary files and leaves them there.
        temporary = Path(tempfile.gettempdir()).resolve()
        for attribute in ("client_key_file", "client_cert_file", "server_ca_file"):
            path = getattr(self.api.auth, attribute, None)
            if path and Path(str(path)).resolve().parent == temporary:
                Path(str(path)).unlink(missing_ok=True)

    async def get(
        self, url: str, *, namespace: str | None = None, version: str = "v1", params: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """GET of an object or list. Raises NotThere, Forbidden, NotAllowed, KubeError, Unreachable."""

        what = f"{url}{f' in namespace {namespace}' if namespace else ''}"

        async def call() -> tuple[int, dict[str, Any]]:
            # kr8s answers a 401 or 403 by closing the session that everything shares, tunnels too: not for us.
            async with self.api.call_api(
                "GET", version=version, namespace=namespace, url=url, params=dict(params or {}), raise_for_status=False
            ) as response:
                return response.status_code, _json(response)

        status, found = await _bounded(call(), self.where, what)
        if status == 401:
            await self._log_in_again()
            status, found = await _bounded(call(), self.where, what)
        if status >= 400:
            raise problem(status, str(found.get("message", "")), self.where, what)
        return found

    async def _log_in_again(self) -> None:
        """A token of a login helper may have expired meanwhile."""
        await _bounded(self.api.reauthenticate(), self.where, "a new login")
        await _bounded(self.api._create_session(), self.where, "a new login")

    async def cluster_uid(self) -> str:
        """The UID of the namespace kube-system: the cluster's identity."""
        return str((await self.get("namespaces/kube-system"))["metadata"]["uid"])

    async def secret_value(self, namespace: str, name: str, key: str) -> str:
        """One value of a Secret, decoded."""
        try:
            secret = await self.get(f"secrets/{name}", namespace=namespace)
        except NotThere:
            raise NotThere(
                f"There is no Secret {namespace}/{name} with Ray's token.",
                "The operator makes it when the cluster starts: is the RayCluster there?",
            ) from None
        value = (secret.get("data") or {}).get(key)
        if value is None:
            raise NotThere(f"The Secret {namespace}/{name} has no key {key!r}.")
        try:
            return base64.b64decode(value, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise NotThere(f"The value of {key!r} in Secret {namespace}/{name} is not text.") from None

    async def pods(self, namespace: str, selector: Mapping[str, str]) -> list[dict[str, Any]]:
        chosen = ",".join(f"{key}={value}" for key, value in sorted(selector.items()))
        found = await self.get("pods", namespace=namespace, params={"labelSelector": chosen})
        return list(found.get("items") or [])

    async def execute(
        self, namespace: str, pod: str, container: str, command: list[str], seconds: float = 60.0
    ) -> tuple[int, bytes, bytes]:
        """(exit code, stdout, stderr) of a command in a container."""
        from kr8s.asyncio.objects import Pod

        async def call() -> tuple[int, bytes, bytes]:
            target = Pod({"metadata": {"name": pod, "namespace": namespace}}, namespace=namespace, api=self.api)
            done = await target.exec(command, container=container, check=False)
            return int(done.returncode), bytes(done.stdout), bytes(done.stderr)

        return await _bounded(call(), self.where, f"a command in pod {namespace}/{pod}", seconds)


async def _bounded(work: Awaitable[T], where: str, what: str = "", seconds: float = API_SECONDS) -> T:
    """The awaitable's result within `seconds`, its failures as errors for people."""
    try:
        return await bounded(work, seconds)
    except (asyncio.TimeoutError, APITimeoutError):
        raise Unreachable(
            f"{where} did not answer within {seconds:.0f} s{f' ({what})' if what else ''}.",
            "Is the cluster up, and is a VPN needed?",
        ) from None
    except JobsError:
        raise
    except Exception as error:
        raise failure(error, where, what) from error


def failure(error: BaseException, where: str, what: str) -> JobsError:
    """The error for a person that an exception of kr8s or below it stands for."""
    while inner := getattr(error, "exceptions", None):
        error = inner[0]  # What came out of a group of tasks.
    status = status_of(error)
    if status:
        return problem(status, str(error), where, what)
    if isinstance(error, httpx.TransportError | OSError) and not isinstance(error, FileNotFoundError):
        return Unreachable(
            f"Cannot reach {where}: {reason(error)}", hint(error) or "Is the cluster up, and is a VPN needed?"
        )
    if isinstance(error, FileNotFoundError):
        return Refused(
            f"{where}: a file or program that the kubeconfig names is missing: {error.filename or error}",
            "Install the login helper, or mend the kubeconfig.",
        )
    return Unreachable(f"{where}: {type(error).__name__}: {str(error)[:300]}", "Is the kubeconfig's user complete?")


def problem(status: int, message: str, where: str, what: str) -> JobsError:
    """The error for a person that an answer of the API server stands for."""
    if status == 401:
        return NotAllowed(
            f"{where} does not accept the credentials (HTTP 401): they may have expired.",
            "Log in again; `kubectl get pods` with the same context tells whether it worked.",
        )
    if status == 403:
        return Forbidden(f"{where} does not allow it (RBAC): {what}.", "Ask for the Role in docs/jobs-rbac.yaml.")
    if status == 404:
        return NotThere(f"{where} has no {what}.")
    return KubeError(f"{where} answered HTTP {status}{f' to {what}' if what else ''}: {message[:300]}")


def _json(response: httpx.Response) -> dict[str, Any]:
    try:
        return dict(response.json())
    except ValueError:
        return {"message": response.text}


def status_of(error: BaseException) -> int:
    response = getattr(error, "response", None)
    if isinstance(error, ServerError) or response is not None:
        return int(getattr(response, "status_code", 0) or 0)
    return 0
