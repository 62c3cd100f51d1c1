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

from components.cluster.api import Api
from components.errors import StackError
from components.resources.kubernetes_object import object_path

URN = "ray-on-kubernetes/urn"
"""Annotation on every Kubernetes object of a stack but the CRDs: the URN of its resource."""
STATE = "ray-on-kubernetes/state"
"""Annotation beside it: the id of the state that has it. Stacks of one name on two backends have the same URNs."""


class Ownership:
    """Marks every Kubernetes object that the program declares from now on, and looks at those that are there.

    `state_id`: of the stack's state.
    """

    def __init__(self, api: Api, state_id: pulumi.Output[str], *, adopt: bool) -> None:
        self.api, self.state_id = api, state_id
        look = ResourceHook("ownership", self._before_create, ResourceHookOptions(on_dry_run=True))
        self.hooks = None if adopt else ResourceHookBinding(before_create=[look])
        pulumi.runtime.register_resource_transform(self._transform)

    def _transform(self, args: pulumi.ResourceTransformArgs) -> pulumi.ResourceTransformResult | None:
        metadata = args.props.get("metadata")
        if not args.type_.startswith("kubernetes:") or not isinstance(metadata, Mapping):
            return None
        marks = {URN: pulumi.create_urn(args.name, args.type_, args.opts.parent), STATE: self.state_id}
        marked = {**metadata, "annotations": {**(metadata.get("annotations") or {}), **marks}}
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
        reason = refusal(manifest, found)
        if reason:
            raise StackError(reason)


def refusal(manifest: Mapping[str, Any], found: Mapping[str, Any] | None) -> str | None:
    """Why `manifest`, marked, may not take over `found`, the object that is where it is to be; None: it may."""
    if found is None:
        return None
    mine, theirs = (one["metadata"].get("annotations") or {} for one in (manifest, found))
    if all(theirs.get(key) == mine[key] for key in (URN, STATE)):
        return None
    metadata = manifest["metadata"]
    inside = f"{metadata['namespace']}/" if metadata.get("namespace") else ""
    there = f"{manifest['kind']} {inside}{metadata['name']} is on the cluster already"
    # Pulumi writes what is given by `--config` into the stack file.
    adopt = "`pulumi up --config ray-on-kubernetes:adopt=true`, then `pulumi config rm adopt`"
    if URN not in theirs:
        return (
            f"{there}, and no stack of this program made it. To take it over: {adopt}; otherwise choose another name, "
            "or remove it."
        )
    if theirs.get(STATE) == mine[STATE]:
        return f"{there}, as {theirs[URN]} of this stack. Name that in `aliases`, or choose another name."
    return (
        f"{there}, as {theirs[URN]} of another stack, or of a stack of the same name on another backend. That one has "
        f"to give it up first, or this one to choose another name. If that one's state is lost for good: {adopt}"
    )
