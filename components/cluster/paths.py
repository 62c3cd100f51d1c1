"""Paths of objects at the Kubernetes API server; pure."""

from __future__ import annotations

from jobs.kubernetes.paths import resource_path


def plural(kind: str) -> str:
    """Returns the resource name of a kind, such as `networkpolicies`.

    It covers the kinds that the stack and KubeRay's manifests have, not every kind of Kubernetes.
    """
    lower = kind.lower()
    if lower.endswith(("s", "x", "ch")):
        return lower + "es"
    if lower.endswith("y"):
        return lower[:-1] + "ies"
    return lower + "s"


def object_path(api_version: str, kind: str, namespace: str, name: str) -> str:
    """Returns the path of one object; `namespace` is empty for a cluster-wide kind."""
    return resource_path(api_version, plural(kind), name, namespace)
