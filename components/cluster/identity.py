"""The identity of a Kubernetes cluster: the UID of its namespace `kube-system`.

A context is a name on one machine, and two clusters can have the same. The UID is different for every cluster.
"""

from __future__ import annotations

from components.cluster.api import Api
from components.errors import StackError


class OtherCluster(StackError):
    """The context leads to another cluster than the one that the stack was deployed to."""


def other_cluster_message(recorded_uid: str, uid: str, context: str) -> str:
    return (
        f"context {context} leads to another cluster (kube-system UID {uid}) than the one this stack was deployed to "
        f"({recorded_uid}). Set `kubeContext` to the right cluster. For a new cluster use a new stack. If the old "
        "cluster is gone for good, remove this stack's state with `pulumi stack rm --force`, then `pulumi stack init`."
    )


def connect_to_recorded(kubeconfig: str | None, context: str, uid: str) -> Api:
    """Connects to the cluster with the recorded `uid`.

    Raises:
        OtherCluster: the context leads to a cluster with another UID.
        ClusterError: no cluster answers.
    """
    api = Api(kubeconfig, context)
    if (live_uid := api.cluster_uid()) != uid:
        raise OtherCluster(other_cluster_message(uid, live_uid, context or "(current)"))
    return api
