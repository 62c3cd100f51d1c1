"""One Kubernetes object as a Pulumi resource, with exactly the fields of its manifest."""

from __future__ import annotations

from typing import Any

import pulumi


def type_token(manifest: dict[str, Any]) -> str:
    """Returns the type of a manifest in Pulumi's Kubernetes provider, such as `kubernetes:core/v1:Namespace`."""
    group, _, version = manifest["apiVersion"].rpartition("/")
    return f"kubernetes:{group or 'core'}/{version}:{manifest['kind']}"


def declare(name: str, manifest: dict[str, Any], opts: pulumi.ResourceOptions) -> pulumi.CustomResource:
    """Registers a manifest.

    Args:
        name: name of the resource in Pulumi. The object has the name of its manifest.
        manifest: the object.
        opts: options of the resource.
    """
    return pulumi.CustomResource(type_token(manifest), name, manifest, opts)
