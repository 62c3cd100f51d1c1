"""Which objects of a stack are on the cluster: from the stack's own state, asked one by one.

The list is taken before a destroy and asked again after it, so "nothing left" is what the API server says, not what the
engine believes.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.cluster.api import Api
from components.cluster.crds import CRDS_PATH
from components.resources.kubernetes_object import object_path

CRD_RESOURCE = "pulumi-python:dynamic/kuberay:CRDs"
KUBERNETES = "kubernetes:"
# Kinds that the provider and the components use as groups; they are no objects on a cluster.
GROUPS = ("kubernetes:kustomize/", "kubernetes:yaml/")


@dataclass(frozen=True, order=True)
class Object:
    """One object; `path` is its place at the API server; `retained`: it is to stay after a destroy."""

    kind: str
    namespace: str
    name: str
    path: str
    retained: bool = False

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace + '/' if self.namespace else ''}{self.name}"


def objects(state: Iterable[Mapping[str, Any]]) -> list[Object]:
    """Every object on the cluster that the stack's state stands for; what it only reads is left out."""
    found: list[Object] = []
    for resource in state:
        retained = bool(resource.get("retainOnDelete"))
        if resource["type"] == CRD_RESOURCE:
            names = resource.get("outputs", {}).get("crds") or {}
            found += [
                Object("CustomResourceDefinition", "", name, f"{CRDS_PATH}/{name}", retained) for name in sorted(names)
            ]
        elif resource["type"].startswith(KUBERNETES) and not resource["type"].startswith(GROUPS):
            outputs = resource.get("outputs") or {}
            metadata = outputs.get("metadata") or {}
            if resource.get("external") or "name" not in metadata:
                continue
            kind, namespace = str(outputs["kind"]), str(metadata.get("namespace", ""))
            where = object_path(str(outputs["apiVersion"]), kind, namespace, str(metadata["name"]))
            found.append(Object(kind, namespace, str(metadata["name"]), where, retained))
    return sorted(found)


def present(api: Api, listed: Sequence[Object]) -> list[tuple[Object, dict[str, Any]]]:
    """Those that the API server still has, with what it says of them."""
    answers = ((entry, api.get(entry.path)) for entry in listed)
    return [(entry, answer) for entry, answer in answers if answer is not None]


def why_stuck(answer: Mapping[str, Any]) -> str:
    """Why an object that was deleted is still there, from its metadata and conditions."""
    metadata = answer["metadata"]
    if "deletionTimestamp" not in metadata:
        return "nobody asked to delete it"
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


def wait_until_gone(api: Api, listed: Sequence[Object], seconds: float) -> list[tuple[Object, dict[str, Any]]]:
    """What is left of the objects that are not to be retained, after `seconds` at most."""
    deadline = time.monotonic() + seconds
    going = [entry for entry in listed if not entry.retained]
    while left := present(api, going):
        if time.monotonic() > deadline:
            return left
        going = [entry for entry, _ in left]
        time.sleep(1)
    return []
