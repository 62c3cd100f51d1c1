"""Any Kubernetes object as a Pulumi resource, exactly as its manifest has it."""

from __future__ import annotations

from typing import Any

import pulumi


def type_token(manifest: dict[str, Any]) -> str:
    """Token of the provider's type for a manifest, such as `kubernetes:core/v1:Namespace`."""
    group, _, version = manifest["apiVersion"].rpartition("/")
    return f"kubernetes:{group or 'core'}/{version}:{manifest['kind']}"


def plural(kind: str) -> str:
    """The resource name of a kind, for the kinds that this program declares."""
    lower = kind.lower()
    if lower.endswith(("s", "x", "ch")):
        return lower + "es"
    if lower.endswith("y"):
        return lower[:-1] + "ies"
    return lower + "s"


def object_path(api_version: str, kind: str, namespace: str, name: str) -> str:
    """Where an object is at the API server; `namespace` is empty for cluster-wide kinds."""
    root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    inside = f"/namespaces/{namespace}" if namespace else ""
    return f"{root}{inside}/{plural(kind)}/{name}"


def declare(name: str, manifest: dict[str, Any], opts: pulumi.ResourceOptions) -> pulumi.CustomResource:
    """Registers `manifest`. The name in Pulumi is `name`; the object's own is the manifest's."""
    return pulumi.CustomResource(type_token(manifest), name, manifest, opts)
