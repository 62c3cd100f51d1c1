"""The Kubernetes cluster of the stack, by kubeconfig and context."""

from __future__ import annotations

from dataclasses import dataclass

from components.cluster.api import Api
from components.errors import StackError
from jobs.kubernetes.kubeconfig import KubeconfigRefused, read_kubeconfig


@dataclass(frozen=True)
class KubernetesCluster:
    """A cluster that answers.

    Attributes:
        kubeconfig: path from the settings; None: the usual rules.
        context: name of the context; empty in a pod.
        uid: UID of the namespace `kube-system`.
        api: the client.
    """

    kubeconfig: str | None
    context: str
    uid: str
    api: Api


def connect(kubeconfig: str, context: str) -> KubernetesCluster:
    """Connects to the cluster of a kubeconfig and a context; empty: the usual rules.

    Raises:
        StackError: they do not lead to a cluster that answers. The message says what to set.
    """
    context = resolve_context(kubeconfig, context)
    api = Api(kubeconfig or None, context)
    return KubernetesCluster(kubeconfig or None, context, api.cluster_uid(), api)


def resolve_context(kubeconfig: str, context: str) -> str:
    """Returns `context`, or the current context by kubectl's rules; empty in a pod with a ServiceAccount.

    Raises:
        StackError: there is no kubeconfig, or it does not have the context.
    """
    try:
        config = read_kubeconfig(kubeconfig, option="`kubeconfig`")
        return config.choose(context, option="`kubeContext`") if config else ""
    except KubeconfigRefused as error:
        raise StackError(f"{error.message} {error.remedy}") from None
