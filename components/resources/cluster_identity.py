"""The Kubernetes cluster that a stack belongs to, as two resources.

The first `up` records the cluster's identity. From then on a context that leads to another cluster stops `preview` and
`up` before anything is sent, and `refresh` before it takes every object for deleted. A guard does the same for
`destroy`.

Pulumi pickles a dynamic provider into the state by module and class name. Old states need the old names: see
components/cluster_identity.py before you move or rename a provider.
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

from components.cluster.context import KubernetesCluster
from components.cluster.identity import connect_to_recorded, other_cluster_message
from components.errors import StackError

P = ParamSpec("P")
T = TypeVar("T")


def without_traceback(method: Callable[P, T]) -> Callable[P, T]:
    """Wraps a provider's method, so that its StackErrors are shown without the frames that led to them."""

    @functools.wraps(method)
    def call(*arguments: P.args, **named: P.kwargs) -> T:
        try:
            return method(*arguments, **named)
        except StackError as error:
            raise StackError(str(error)) from None

    return call


class _IdentityProvider(ResourceProvider):
    serialize_as_secret_always = False

    def check(self, olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        recorded = olds.get("uid")
        if recorded and recorded != news["uid"]:
            reason = other_cluster_message(recorded, news["uid"], news["context"])
            return CheckResult(news, [CheckFailure("uid", reason)])
        return CheckResult(news, [])

    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult(props["uid"], dict(props))

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        return DiffResult(changes=any(olds.get(key) != news.get(key) for key in ("context", "kubeconfig")))

    def update(self, _id: str, _olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        return UpdateResult(dict(news))

    @without_traceback
    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        connect_to_recorded(props.get("kubeconfig"), props["context"], props["uid"])
        return ReadResult(id_, dict(props))


class _StateProvider(_IdentityProvider):
    """Also gives the state of the stack an id, once."""

    def check(self, olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        # Here and not in `create`: a preview knows only inputs.
        return super().check(olds, {**news, "state_id": olds.get("state_id") or uuid.uuid4().hex})

    def diff(self, id_: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        changed = olds.get("state_id") != news["state_id"]  # a state from before ids existed
        return DiffResult(changes=changed or super().diff(id_, olds, news).changes)


class ClusterIdentity(Resource, module="cluster", name="ClusterIdentity"):
    """The identity of the cluster. The Kubernetes provider depends on it, and so does everything on the cluster.

    Args:
        name: name of the resource.
        cluster: as it answers now. Another context or kubeconfig is an update, another UID is an error.
        opts: options of the resource.

    Attributes:
        uid: UID of the namespace `kube-system`.
        state_id: random id of this stack's state: two stacks of one name on two backends have the same URNs.
    """

    uid: pulumi.Output[str]
    state_id: pulumi.Output[str]

    def __init__(self, name: str, cluster: KubernetesCluster, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(_StateProvider(), name, {**_inputs(cluster), "state_id": None}, opts)


class _GuardProvider(_IdentityProvider):
    @without_traceback
    def delete(self, _id: str, props: dict[str, Any]) -> None:
        connect_to_recorded(props.get("kubeconfig"), props["context"], props["uid"])


class ClusterGuard(Resource, module="cluster", name="ClusterGuard"):
    """Stops a plain `pulumi destroy` that would reach another cluster, or none.

    It is created last and so deleted first. Without it every object would count as deleted: another cluster has none of
    them.

    Args:
        name: name of the resource.
        cluster: as it answers now.
        depends_on: everything on the cluster.
    """

    def __init__(self, name: str, cluster: KubernetesCluster, *, depends_on: Sequence[pulumi.Resource]) -> None:
        super().__init__(_GuardProvider(), name, _inputs(cluster), pulumi.ResourceOptions(depends_on=list(depends_on)))


def _inputs(cluster: KubernetesCluster) -> dict[str, Any]:
    return {"uid": cluster.uid, "context": cluster.context, "kubeconfig": cluster.kubeconfig}
