"""The Kubernetes cluster that a stack belongs to.

Contexts are names on one machine; two clusters can have the same. The stack records the UID of `kube-system` at its
first `up`; from then on a context that leads to another cluster stops `preview` and `up` before anything is sent, and
`refresh` before it could take every object for deleted.
"""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import pulumi
from pulumi.dynamic import (
    CheckFailure,
    CheckResult,
    CreateResult,
    DiffResult,
    ReadResult,
    Resource,
    ResourceProvider,
    UpdateResult,
)

from components.cluster.api import Api, ClusterError

P = ParamSpec("P")
T = TypeVar("T")


def other_cluster(recorded: str, found: str, context: str) -> str:
    return (
        f"context {context} leads to another cluster (kube-system UID {found}) than the one this stack was made on "
        f"({recorded}). Point `kubeContext` to the right cluster; for a new cluster use a new stack, or, if the old "
        "one is gone for good, remove this stack's state with `pulumi stack rm --force` and `pulumi stack init` again."
    )


def connect_to_recorded(kubeconfig: str | None, context: str, uid: str) -> Api:
    """Raises ValueError unless this leads to the cluster with the recorded UID, ClusterError where none answers."""
    api = Api(kubeconfig, context)
    found = api.cluster_uid()
    if found != uid:
        raise ValueError(other_cluster(uid, found, context or "(current)"))
    return api


def plainly(method: Callable[P, T]) -> Callable[P, T]:
    """A provider's method whose failures are shown without the frames that led there: the message says it all."""

    @functools.wraps(method)
    def call(*arguments: P.args, **named: P.kwargs) -> T:
        try:
            return method(*arguments, **named)
        except (ClusterError, ValueError) as error:
            raise ClusterError(str(error)) from None

    return call


class _IdentityProvider(ResourceProvider):
    serialize_as_secret_always = False

    def check(self, olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        recorded = olds.get("uid")
        if recorded and recorded != news["uid"]:
            return CheckResult(news, [CheckFailure("uid", other_cluster(recorded, news["uid"], news["context"]))])
        return CheckResult(news, [])

    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult(props["uid"], dict(props))

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        return DiffResult(changes=any(olds.get(key) != news.get(key) for key in ("context", "kubeconfig")))

    def update(self, _id: str, _olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        return UpdateResult(dict(news))

    @plainly
    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        connect_to_recorded(props.get("kubeconfig"), props["context"], props["uid"])
        return ReadResult(id_, dict(props))


class _StateProvider(_IdentityProvider):
    """Also gives the stack's state an id of its own, once."""

    def check(self, olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        # Made here and not by `create`: an input is known in previews too.
        return super().check(olds, {**news, "state_id": olds.get("state_id") or uuid.uuid4().hex})

    def diff(self, id_: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        new = olds.get("state_id") != news["state_id"]  # a state from before there were ids
        return DiffResult(changes=new or super().diff(id_, olds, news).changes)


class ClusterIdentity(Resource, module="cluster", name="ClusterIdentity"):
    """Depend on this, through the provider, with everything that goes to the cluster.

    `uid`: of kube-system, as found now. `context`, `kubeconfig`: how it was found; a change of these alone is no fault.
    `state_id`: random, in this stack's state alone: stacks of one name on two backends have the same URNs.
    """

    uid: pulumi.Output[str]
    state_id: pulumi.Output[str]

    def __init__(
        self, name: str, *, uid: str, context: str, kubeconfig: str | None, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        inputs = {"uid": uid, "context": context, "kubeconfig": kubeconfig, "state_id": None}
        super().__init__(_StateProvider(), name, inputs, opts)


class _GuardProvider(_IdentityProvider):
    @plainly
    def delete(self, _id: str, props: dict[str, Any]) -> None:
        connect_to_recorded(props.get("kubeconfig"), props["context"], props["uid"])


class ClusterGuard(Resource, module="cluster", name="ClusterGuard"):
    """Made after everything in `depends_on`, and so the first to go: a plain `pulumi destroy` that would meet another
    cluster, or none, ends here. Without it every object would count as gone, for that cluster has none of them."""

    def __init__(
        self, name: str, *, uid: str, context: str, kubeconfig: str | None, depends_on: Sequence[pulumi.Resource]
    ) -> None:
        inputs = {"uid": uid, "context": context, "kubeconfig": kubeconfig}
        super().__init__(_GuardProvider(), name, inputs, pulumi.ResourceOptions(depends_on=list(depends_on)))
