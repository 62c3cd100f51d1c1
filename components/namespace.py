"""Namespaces: made by the stack, or used as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi

from components.kubeobject import declare


def manifest(name: str, labels: Mapping[str, str] | None = None) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name}
    if labels:
        metadata["labels"] = dict(labels)
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


class Namespace(pulumi.ComponentResource):
    """A namespace that the stack makes and removes, and what guards it. One that exists already is never declared."""

    def __init__(
        self,
        name: str,
        *,
        labels: Mapping[str, str] | None = None,
        protect: bool = False,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("ray-on-kubernetes:namespace:Namespace", name, {}, opts)
        declare(name, manifest(name, labels), pulumi.ResourceOptions(parent=self, protect=protect))
        self.register_outputs({"name": name})
