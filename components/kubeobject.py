"""Any Kubernetes object as a Pulumi resource, exactly as its manifest has it."""

from __future__ import annotations

from typing import Any

import pulumi


def type_token(manifest: dict[str, Any]) -> str:
    """Token of the provider's type for a manifest, such as `kubernetes:core/v1:Namespace`."""
    group, _, version = manifest["apiVersion"].rpartition("/")
    return f"kubernetes:{group or 'core'}/{version}:{manifest['kind']}"


def declare(name: str, manifest: dict[str, Any], opts: pulumi.ResourceOptions) -> pulumi.CustomResource:
    """Registers `manifest`. The name in Pulumi is `name`; the object's own is the manifest's."""
    return pulumi.CustomResource(type_token(manifest), name, manifest, opts)
