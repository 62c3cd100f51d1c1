"""A namespace of the stack, created or existing, with its ResourceQuota and LimitRange."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pulumi

from components.manifests import namespace
from components.resources.kubernetes_object import declare
from components.settings.access import NamespaceSettings


class Namespace(pulumi.ComponentResource):
    """A namespace of the stack.

    Args:
        name: name of the namespace, and of this component.
        settings: its labels.
        create: whether the stack creates and deletes the namespace; otherwise it exists.
        limits: its ResourceQuota and LimitRange. They come before everything that they have to count.
        protect: refuse to delete a namespace that the stack creates.
        retain: leave it on the cluster when the stack no longer has it.
        opts: options of the component.
    """

    def __init__(
        self,
        name: str,
        settings: NamespaceSettings,
        *,
        create: bool,
        limits: Sequence[dict[str, Any]] = (),
        protect: bool = False,
        retain: bool = False,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("ray-on-kubernetes:namespace:Namespace", name, {}, opts)
        created: list[pulumi.Resource] = []
        if create:
            options = pulumi.ResourceOptions(parent=self, protect=protect, retain_on_delete=retain)
            manifest = namespace.manifest(name, settings.namespace_labels(), retain=retain)
            created.append(declare(name, manifest, options))
        for limit in limits:
            declare(f"{name}/{limit['kind']}", limit, pulumi.ResourceOptions(parent=self, depends_on=created))
        self.register_outputs({"name": name})
