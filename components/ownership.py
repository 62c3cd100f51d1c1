"""Which resource of which stack an object on the cluster is, written on the object itself.

An `up` that ends early may lose the answer to a creation: the object is there and the state does not know it. By the
mark the next `up` takes it for its own and goes on. Whatever else is there already is refused by name, unless `adopt`
is set: an object of somebody else's, or of this stack's under another URN, which Pulumi would delete once it has "made"
the new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi import ResourceHook, ResourceHookArgs, ResourceHookBinding, ResourceHookOptions

from components.errors import StackError
from components.kubeapi import Api
from components.kubeobject import object_path

MARK = "ray-on-kubernetes/urn"
"""Annotation on every Kubernetes object of a stack but the CRDs: the URN of its resource."""


class Ownership:
    """Marks every Kubernetes object that the program declares from now on, and looks at those that are there."""

    def __init__(self, api: Api, *, adopt: bool) -> None:
        self.api = api
        look = ResourceHook("ownership", self._before_create, ResourceHookOptions(on_dry_run=True))
        self.hooks = None if adopt else ResourceHookBinding(before_create=[look])
        pulumi.runtime.register_resource_transform(self._transform)

    def _transform(self, args: pulumi.ResourceTransformArgs) -> pulumi.ResourceTransformResult | None:
        metadata = args.props.get("metadata")
        if not args.type_.startswith("kubernetes:") or not isinstance(metadata, Mapping):
            return None
        urn = pulumi.create_urn(args.name, args.type_, args.opts.parent)
        marked = {**metadata, "annotations": {**(metadata.get("annotations") or {}), MARK: urn}}
        own = pulumi.ResourceOptions(hooks=self.hooks)
        return pulumi.ResourceTransformResult(
            {**args.props, "metadata": marked}, pulumi.ResourceOptions.merge(args.opts, own)
        )

    def _before_create(self, args: ResourceHookArgs) -> None:
        manifest: Mapping[str, Any] = args.new_inputs or {}
        metadata = manifest["metadata"]
        found = self.api.get(
            object_path(manifest["apiVersion"], manifest["kind"], metadata.get("namespace", ""), metadata["name"])
        )
        reason = refusal(manifest, found, args.urn)
        if reason:
            raise StackError(reason)


def refusal(manifest: Mapping[str, Any], found: Mapping[str, Any] | None, urn: str) -> str | None:
    """Why the resource `urn` may not take over `found`, the object that is where `manifest` is to be; None: it may."""
    owner = ((found or {}).get("metadata", {}).get("annotations") or {}).get(MARK)
    if found is None or owner == urn:
        return None
    metadata = manifest["metadata"]
    inside = f"{metadata['namespace']}/" if metadata.get("namespace") else ""
    name = f"{manifest['kind']} {inside}{metadata['name']}"
    if owner:
        return (
            f"{name} is on the cluster already, as {owner}. If that is this stack's, name it in `aliases`; otherwise "
            "its own stack has to give it up first, or this one has to choose another name."
        )
    return (
        f"{name} is on the cluster already, and no stack of this program made it. To take it over: "
        "`pulumi up --config ray-on-kubernetes:adopt=true`; otherwise choose another name, or remove it."
    )
