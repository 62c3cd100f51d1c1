"""What the resources share that apply their objects outside of the engine: KubeRay's CRDs, and rules and dashboards.

Their properties say which cluster the objects are on and which stack they belong to. The engine compares digests.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import pulumi
from pulumi.dynamic import DiffResult, ReadResult

from components.cluster.api import Api
from components.cluster.context import KubernetesCluster
from components.cluster.identity import connect_to_recorded

PLACE = ("owner", "context", "kubeconfig", "clusterUid")
# Never compared: the pickle differs with the version of Python and with the name of the provider's module, and neither
# changes an object.
PROVIDER = "__provider"


def place(cluster: KubernetesCluster) -> dict[str, Any]:
    """Returns the properties PLACE: the stack as `organization/project/stack`, and the cluster."""
    return {
        "owner": f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}",
        "context": cluster.context,
        "kubeconfig": cluster.kubeconfig,
        "clusterUid": cluster.uid,
    }


def api_of(props: Mapping[str, Any]) -> Api:
    """Connects to the cluster of a resource. Raises OtherCluster, ClusterError."""
    return connect_to_recorded(props.get("kubeconfig"), props["context"], props["clusterUid"])


def difference(olds: Mapping[str, Any], news: Mapping[str, Any], compared: Collection[str]) -> DiffResult:
    """Compares some properties."""
    return DiffResult(changes=any(olds.get(key) != news.get(key) for key in compared))


def reading(
    id_: str, props: dict[str, Any], key: str, found: Mapping[str, Any], outputs_only: Collection[str] = ()
) -> ReadResult:
    """Returns what a refresh found in place of the property `key`.

    Drift goes into that compared property, so that a refresh shows it and the next preview repairs it.

    Args:
        id_: id of the resource.
        props: its properties.
        key: the property that holds the digests.
        found: that property as the cluster has it.
        outputs_only: properties that are no inputs.
    """
    outputs = {**props, key: found}
    if found == props[key]:
        return ReadResult(id_, outputs)
    return ReadResult(id_, outputs, {name: outputs[name] for name in outputs if name not in (PROVIDER, *outputs_only)})
