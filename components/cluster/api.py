"""The Kubernetes API for code that blocks: a thin face over the asynchronous client in jobs/kubernetes/api.py.

The program asks it before anything is registered and while `up` waits; the dynamic providers ask it too.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from components.errors import ClusterError, Forbidden
from jobs import errors
from jobs.kubernetes.api import Kube

T = TypeVar("T")

FIELD_MANAGER = "ray-on-kubernetes"
REQUEST_TIMEOUT_SECONDS = 30.0
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

_loop_lock = threading.Lock()
_loops: list[asyncio.AbstractEventLoop] = []  # the loop, from the first request on


def _loop() -> asyncio.AbstractEventLoop:
    """Returns an event loop in a thread of its own: Pulumi's program runs inside a loop, in which nothing may block.

    The engine calls a dynamic provider from several threads at once. All of them get the same loop.
    """
    with _loop_lock:
        if not _loops:
            loop = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="kubernetes-api", daemon=True).start()
            _loops.append(loop)
        return _loops[0]


class Api:
    """One API server, by kubeconfig and context.

    Every call has a deadline of 30 s. Every call, and the constructor, raises ClusterError where the kubeconfig or the
    context cannot be used, the server does not answer, or it refuses.

    Args:
        kubeconfig: path; None or empty: `KUBECONFIG`, then `~/.kube/config`.
        context: name of a context; None or empty: the current one, or a pod's own ServiceAccount.
    """

    def __init__(self, kubeconfig: str | None, context: str | None) -> None:
        self.context = context
        self._kube = self._wait_for(Kube.open(kubeconfig, context, seconds=REQUEST_TIMEOUT_SECONDS))

    def _wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return asyncio.run_coroutine_threadsafe(work, _loop()).result()
        except errors.JobsError as error:
            raise self._cluster_error(error) from error

    def _cluster_error(self, error: errors.JobsError) -> ClusterError:
        name = f"context {self.context}" if self.context else "the current context"
        if isinstance(error, errors.Forbidden):
            return Forbidden(f"{name}: not allowed: {error.message} Ask for that right, or use another context.")
        if isinstance(error, errors.NotAllowed):
            return ClusterError(f"{name}: the login failed. {error.message} {error.remedy}".rstrip())
        if isinstance(error, errors.KubeError | errors.NotThere | errors.Refused):
            return ClusterError(f"{name}: {error.message} {error.remedy}".rstrip())
        return ClusterError(
            f"{name}: the cluster does not answer. {error.message} {error.remedy} "
            "Does the context point to it? Try `kubectl cluster-info`."
        )

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
        """Sends a request and returns the JSON of the answer; None for HTTP 404. `path` is absolute, such as
        `/api/v1/namespaces/x`."""

        async def request() -> dict[str, Any] | None:
            try:
                return await self._kube.request(
                    method,
                    path,
                    body=body,
                    params=params,
                    content_type=content_type,
                    accept=accept,
                    subject=f"{method} {path}",
                )
            except errors.NotThere:
                return None

        return self._wait_for(request())

    def get(self, path: str, **params: str) -> dict[str, Any] | None:
        """Returns the object or list at `path`; None: it does not exist."""
        return self.call("GET", path, params=params)

    def metadata(self, path: str) -> list[dict[str, Any]]:
        """Returns only the metadata of every object in the list at `path`: small, even where the objects are not."""
        listing = self.call("GET", path, accept=METADATA_LIST)
        # An empty list arrives as null in this form.
        return [item["metadata"] for item in (listing or {}).get("items") or []]

    def apply(self, path: str, manifest: Mapping[str, Any], *, force: bool) -> dict[str, Any]:
        """Applies a manifest by server-side apply. The annotation of a client-side apply is too small for a CRD of
        KubeRay.

        Args:
            path: path of the object.
            manifest: the fields that this program sets.
            force: take over fields that another field manager has set; otherwise they are a conflict.
        """
        answer = self.call(
            "PATCH",
            path,
            body=manifest,
            params={"fieldManager": FIELD_MANAGER, "force": str(force).lower()},
            content_type="application/apply-patch+yaml",
        )
        if answer is None:
            raise ClusterError(f"apply {path}: the API server does not know this kind of object")
        return answer

    def delete(self, path: str, *, propagation: str = "Foreground") -> None:
        """Requests the deletion of an object; it need not exist.

        Args:
            path: path of the object.
            propagation: Kubernetes' propagation policy: `Foreground` keeps it until its dependents are gone.
        """
        self.call("DELETE", path, body={"propagationPolicy": propagation})

    def cluster_uid(self) -> str:
        """Returns the UID of the namespace `kube-system`: the cluster's identity, under any name of the context."""
        namespace = self.get("/api/v1/namespaces/kube-system")
        if namespace is None:
            raise ClusterError("namespace kube-system: not found; this is not a Kubernetes cluster")
        return str(namespace["metadata"]["uid"])
