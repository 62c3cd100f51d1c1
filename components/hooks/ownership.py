"""Marks every Kubernetes object as the stack's own, and refuses objects of others. The rules: cluster/ownership.py."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pulumi
from pulumi import ResourceHook, ResourceHookArgs, ResourceHookBinding, ResourceHookOptions

from components.cluster.api import Api
from components.cluster.ownership import STATE_ANNOTATION, URN_ANNOTATION, refusal, refusal_in_state
from components.cluster.paths import object_path
from components.errors import Forbidden, StackError, error_of_problems


class Ownership:
    """Marks every Kubernetes object that is declared from now on, and checks before its creation that it is free.

    Args:
        api: API server of the cluster.
        state_id: id of the stack's state.
        main_objects: the objects that a person looks for first. The engine stops at the first object that is refused,
            so its error names these too.
        adopt: do not check: objects that exist are taken over.
    """

    def __init__(
        self, api: Api, state_id: pulumi.Output[str], main_objects: Sequence[Mapping[str, Any]], *, adopt: bool
    ) -> None:
        self.api, self.state_id, self.main_objects = api, state_id, main_objects
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
        path = _path(manifest)
        reason = refusal(manifest, self.api.get(path))
        if reason is None:
            return
        state_id = manifest["metadata"]["annotations"][STATE_ANNOTATION]
        reasons = [reason, *self._other_refusals(path, state_id)]
        if len(reasons) == 1:
            raise StackError(reason)
        raise error_of_problems("These objects are not this stack's:", reasons)

    def _other_refusals(self, path: str, state_id: str) -> Iterator[str]:
        for manifest in self.main_objects:
            if _path(manifest) == path:
                continue
            with contextlib.suppress(Forbidden):  # the first refusal must be shown in any case
                reason = refusal_in_state(manifest, self.api.get(_path(manifest)), state_id)
                if reason:
                    yield reason


def _path(manifest: Mapping[str, Any]) -> str:
    metadata = manifest["metadata"]
    return object_path(manifest["apiVersion"], manifest["kind"], metadata.get("namespace", ""), metadata["name"])
