"""The objects of a stack, from its state; and which of them the API server has.

The list is taken before a destroy and checked after it, so that "0 left" is the API server's answer and not the
engine's belief.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.cluster import applied
from components.cluster.api import Api
from components.cluster.crds import CRDS_PATH
from components.cluster.identity import OtherCluster, connect_to_recorded
from components.cluster.paths import object_path
from ops.errors import Refused

CRDS_TYPE = "pulumi-python:dynamic/kuberay:CRDs"
APPLIED_TYPE = "pulumi-python:dynamic/monitoring:Objects"
IDENTITY_TYPE = "pulumi-python:dynamic/cluster:ClusterIdentity"
KUBERNETES_PREFIX = "kubernetes:"
# Types that group other resources; they are no objects on a cluster.
GROUP_PREFIXES = ("kubernetes:kustomize/", "kubernetes:yaml/")


@dataclass(frozen=True, order=True)
class Object:
    """One object on the cluster.

    Args:
        kind: Such as `RayCluster`.
        namespace: Empty for an object without a namespace.
        name: Its name.
        path: Its URL path at the API server.
        retained: It stays on the cluster after a destroy (`retainOnDelete`).
    """

    kind: str
    namespace: str
    name: str
    path: str
    retained: bool = False

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace + '/' if self.namespace else ''}{self.name}"


def objects(resources: Iterable[Mapping[str, Any]]) -> list[Object]:
    """Every object on the cluster that the stack manages; objects that it only reads are left out."""
    listed: list[Object] = []
    for resource in resources:
        retained = bool(resource.get("retainOnDelete"))
        if resource["type"] == CRDS_TYPE:
            names = sorted(resource.get("outputs", {}).get("crds") or {})
            listed += [Object("CustomResourceDefinition", "", name, f"{CRDS_PATH}/{name}", retained) for name in names]
        elif resource["type"] == APPLIED_TYPE:
            names = sorted((resource.get("outputs") or {}).get("objects") or {})
            listed += [Object(*applied.parts(name), applied.path(name), retained) for name in names]
        elif resource["type"].startswith(KUBERNETES_PREFIX) and not resource["type"].startswith(GROUP_PREFIXES):
            outputs = resource.get("outputs") or {}
            metadata = outputs.get("metadata") or {}
            if resource.get("external") or "name" not in metadata:
                continue
            kind, namespace = str(outputs["kind"]), str(metadata.get("namespace", ""))
            path = object_path(str(outputs["apiVersion"]), kind, namespace, str(metadata["name"]))
            listed.append(Object(kind, namespace, str(metadata["name"]), path, retained))
    return sorted(listed)


def connect(resources: Sequence[Mapping[str, Any]], environment: Mapping[str, str] | None = None) -> Api:
    """Connects to the cluster that the stack was deployed to.

    Args:
        resources: The resources of the stack's state.
        environment: Its KUBECONFIG is used where the stack names no kubeconfig.

    Raises:
        Refused: The state names no cluster, or the context leads to another one.
        ClusterError: The cluster does not answer.
    """
    identity = next((resource for resource in resources if resource["type"] == IDENTITY_TYPE), None)
    if identity is None:
        raise Refused("the stack's state holds no cluster: nothing was ever deployed, or it is destroyed already")
    inputs = identity["inputs"]
    kubeconfig = inputs.get("kubeconfig") or (environment or {}).get("KUBECONFIG")
    try:
        return connect_to_recorded(kubeconfig, inputs["context"], inputs["uid"])
    except OtherCluster as error:
        raise Refused(str(error)) from error


def find_on_cluster(api: Api, listed: Iterable[Object]) -> list[tuple[Object, dict[str, Any]]]:
    """The objects that the API server has, each with the server's answer."""
    answers = ((entry, api.get(entry.path)) for entry in listed)
    return [(entry, answer) for entry, answer in answers if answer is not None]


def wait_until_gone(api: Api, listed: Iterable[Object], seconds: float) -> list[tuple[Object, dict[str, Any]]]:
    """Waits until all objects are gone that are not retained; returns those left after `seconds`."""
    deadline = time.monotonic() + seconds
    remaining = [entry for entry in listed if not entry.retained]
    while left := find_on_cluster(api, remaining):
        if time.monotonic() > deadline:
            return left
        remaining = [entry for entry, _ in left]
        time.sleep(1)
    return []


def why_stuck(answer: Mapping[str, Any]) -> str:
    """Why a deleted object still exists, from its metadata and conditions."""
    metadata = answer["metadata"]
    if "deletionTimestamp" not in metadata:
        return "it was not deleted"
    reasons = []
    if metadata.get("finalizers"):
        reasons.append(f"finalizers {', '.join(metadata['finalizers'])}")
    if (answer.get("spec") or {}).get("finalizers"):
        reasons.append(f"finalizers {', '.join(answer['spec']['finalizers'])}")
    conditions = (answer.get("status") or {}).get("conditions") or []
    reasons += [
        f"{condition['type']}: {condition.get('message', '')}"
        for condition in conditions
        if condition["type"].startswith("Namespace") and condition["status"] == "True"
    ]
    return f"being deleted since {metadata['deletionTimestamp']}" + (f"; {'; '.join(reasons)}" if reasons else "")
