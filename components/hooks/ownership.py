"""Marks every Kubernetes object as the stack's own, and refuses objects of others. The rules: cluster/ownership.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi import ResourceHook, ResourceHookArgs, ResourceHookBinding, ResourceHookOptions

from components.cluster.api import Api
from components.cluster.ownership import STATE_ANNOTATION, URN_ANNOTATION, refusal
from components.cluster.paths import object_path
from components.errors import StackError


class Ownership:
    """Marks every Kubernetes object that is declared from now on, and checks before its creation that it is free.

    Args:
        api: API server of the cluster.
        state_id: id of the stack's state.
        adopt: do not check: objects that exist are taken over.
    """

    def __init__(self, api: Api, state_id: pulumi.Output[str], *, adopt: bool) -> None:
        self.api, self.state_id = api, state_id
        hook = ResourceHook("ownership", self._before_create, ResourceHookOptions(on_dry_run=True))
        self.hooks = None if adopt else ResourceHookBinding(before_create=[hook])
        pulumi.runtime.register_resource_transform(self._transform)

    def _transform(self, args: pulumi.ResourceTransformArgs) -> pulumi.ResourceTransformResult | None:
        metadata = args.props.get("metadata")
        if not args.type_.startswith("kubernetes:") or not isinstance(metadata, Mapping):
            return None
        marks = {
            URN_ANNOTATION: pulumi.create_urn(args.name, args.type_, args.opts.parent),
            STATE_ANNOTATION: self.state_id,
        }
        marked = {**metadata, "annotations": {**(metadata.get("annotations") or {}), **marks}}
        return pulumi.ResourceTransformResult(
            {**args.props, "metadata": marked},
            pulumi.ResourceOptions.merge(args.opts, pulumi.ResourceOptions(hooks=self.hooks)),
        )

    def _before_create(self, args: ResourceHookArgs) -> None:
        manifest: Mapping[str, Any] = args.new_inputs or {}
        metadata = manifest["metadata"]
        live = self.api.get(
            object_path(manifest["apiVersion"], manifest["kind"], metadata.get("namespace", ""), metadata["name"])
        )
        reason = refusal(manifest, live)
        if reason:
            raise StackError(reason)
