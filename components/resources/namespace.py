"""Namespaces: made by the stack, or used as they are; and what guards them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi

from components.resources.kubernetes_object import declare


def manifest(name: str, labels: Mapping[str, str]) -> dict[str, Any]:
    metadata = {"name": name, **({"labels": dict(labels)} if labels else {})}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


class Namespace(pulumi.ComponentResource):
    """A namespace of the stack. `create`: made and removed by it; otherwise used, and neither made nor removed.

    `guards`: its ResourceQuota and LimitRange, made before anything that they are to count.
    """

    def __init__(
        self,
        name: str,
        *,
        create: bool,
        labels: Mapping[str, str],
        guards: Sequence[dict[str, Any]],
        protect: bool,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("ray-on-kubernetes:namespace:Namespace", name, {}, opts)
        needed: list[pulumi.Resource] = []
        if create:
            own = pulumi.ResourceOptions(parent=self, protect=protect)
            needed.append(declare(name, manifest(name, labels), own))
        for guard in guards:
            declare(f"{name}/{guard['kind']}", guard, pulumi.ResourceOptions(parent=self, depends_on=needed))
        self.register_outputs({"name": name})
