"""The few calls to a Kubernetes API server that Pulumi's provider does not make for us.

A thin, synchronous edge on kr8s: kubeconfig, contexts and every way to authenticate are its business. Used by the
program before anything is registered, by the dynamic providers, and while `up` waits.
"""

from __future__ import annotations

import asyncio
import functools
import json
import tempfile
import threading
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

import kr8s.asyncio
from httpx import HTTPError

T = TypeVar("T")

FIELD_MANAGER = "ray-on-kubernetes"
REQUEST_TIMEOUT_SECONDS = 30.0


_loop_lock = threading.Lock()


@functools.cache
def _started_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="kubernetes-api", daemon=True).start()
    return loop


def _loop() -> asyncio.AbstractEventLoop:
    """A loop in a thread of its own: Pulumi's program runs inside one already, which must not be blocked twice.

    The engine calls a dynamic provider from several threads at once; all of them get the same loop.
    """
    with _loop_lock:
        return _started_loop()


def _wait_for(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run_coroutine_threadsafe(work, _loop()).result()


class ClusterError(Exception):
    """The API server could not be asked, or refused; the message says what to do about it."""


class Forbidden(ClusterError):
    """The API server answers, and this user has not the right."""


class Api:
    """One API server, by kubeconfig and context; each call has a deadline.

    Raises ClusterError where there is no such kubeconfig or context, the server cannot be reached, or it refuses.
    """

    def __init__(self, kubeconfig: str | None, context: str | None) -> None:
        self.context = context
        if kubeconfig and not Path(kubeconfig).expanduser().is_file():
            raise ClusterError(f"kubeconfig {kubeconfig}: no such file. Set `kubeconfig` to the file, or unset it.")
        path = str(Path(kubeconfig).expanduser()) if kubeconfig else None
        try:
            # Every request names its namespace; without one here kr8s wants a current context in the first file.
            self._api = _wait_for(kr8s.asyncio.api(kubeconfig=path, context=context or None, namespace="default"))
            self._api.timeout = REQUEST_TIMEOUT_SECONDS
        except HTTPError as error:
            raise self._unreachable(error) from error
        except kr8s.ServerError as error:
            raise self._refused("connect", "", error) from error
        except (kr8s.APITimeoutError, OSError) as error:
            raise self._unreachable(error) from error
        except ValueError as error:
            raise ClusterError(
                f"kubeconfig or context not usable: {error}. `kubectl config get-contexts` lists contexts."
            ) from error

    def _unreachable(self, error: Exception) -> ClusterError:
        name = f"context {self.context}" if self.context else "the current context"
        return ClusterError(
            f"{name}: the cluster does not answer ({type(error).__name__}: {error}). "
            "Is it running, and does the context point to it? Try `kubectl cluster-info`."
        )

    def _refused(self, method: str, path: str, error: kr8s.ServerError) -> ClusterError:
        code = error.response.status_code if error.response is not None else "?"
        name = f"context {self.context}" if self.context else "the current context"
        if code == 401:
            return ClusterError(f"{name}: the credentials are not accepted (401). Log in again, then retry.")
        if code == 403:
            return Forbidden(f"{name}: not allowed: {error}. Ask for that right, or use another context.")
        return ClusterError(f"{name}: {method} {path} failed ({code}): {error}")

    def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> dict[str, Any] | None:
        """Answer's JSON, or None for 404. `path` is absolute, such as `/api/v1/namespaces/x`."""
        request = {
            "params": dict(params or {}),
            "headers": {"Content-Type": content_type, "Accept": accept},
            "content": None if body is None else json.dumps(body),
        }
        try:
            return _wait_for(self._ask(method, path, request))
        except kr8s.ServerError as error:
            if error.response is not None and error.response.status_code == 404:
                return None
            raise self._refused(method, path, error) from error
        except (HTTPError, kr8s.APITimeoutError, OSError) as error:
            raise self._unreachable(error) from error

    async def _ask(self, method: str, path: str, request: Mapping[str, Any]) -> dict[str, Any]:
        base, _, last = path.rpartition("/")
        try:
            async with self._api.call_api(method, base=base, version="", url=last, **request) as response:
                answer: dict[str, Any] = response.json()
                return answer
        finally:
            self._forget_files()

    def _forget_files(self) -> None:
        """Removes the temporary files to which kr8s writes a kubeconfig's inline key and certificates, and which it
        leaves behind: its session has read them, and a new login writes new ones."""
        temporary = Path(tempfile.gettempdir()).resolve()
        for attribute in ("client_key_file", "client_cert_file", "server_ca_file"):
            file = getattr(self._api.auth, attribute, None)
            if file and Path(str(file)).resolve().parent == temporary:
                Path(str(file)).unlink(missing_ok=True)

    def get(self, path: str, **params: str) -> dict[str, Any] | None:
        """The object or list at `path`; None where there is none."""
        return self.call("GET", path, params=params)

    def metadata(self, path: str) -> list[dict[str, Any]]:
        """The metadata alone of every object in the list at `path`: small, even where the objects are not."""
        listing = self.call("GET", path, accept="application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1")
        # An empty list arrives as null in this form.
        return [item["metadata"] for item in (listing or {}).get("items") or []]

    def apply(self, path: str, manifest: Mapping[str, Any], *, force: bool) -> dict[str, Any]:
        """Server-side apply; never the annotation of client-side apply, which a CRD of this size would overflow."""
        answer = self.call(
            "PATCH",
            path,
            body=manifest,
            params={"fieldManager": FIELD_MANAGER, "force": str(force).lower()},
            content_type="application/apply-patch+yaml",
        )
        if answer is None:
            raise ClusterError(f"apply {path}: the API server does not know that kind of object")
        return answer

    def delete(self, path: str) -> None:
        """Ask for deletion; an object that is not there is no error."""
        self.call("DELETE", path, body={"propagationPolicy": "Foreground"})

    def cluster_uid(self) -> str:
        """UID of the namespace kube-system: the cluster's identity, whatever contexts are called."""
        namespace = self.get("/api/v1/namespaces/kube-system")
        if namespace is None:
            raise ClusterError("namespace kube-system: not found; this is no Kubernetes cluster that Ray can be put on")
        return str(namespace["metadata"]["uid"])
