"""The Namespace object; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.manifests.access import RETAIN_ANNOTATION
from components.manifests.merge import drop_empty


def manifest(name: str, labels: Mapping[str, str], *, retain: bool = False) -> dict[str, Any]:
    """Builds the Namespace object. `retain`: it stays when the stack no longer has it."""
    annotations = {RETAIN_ANNOTATION: "true"} if retain else {}
    metadata = {"name": name, **drop_empty({"labels": dict(labels), "annotations": annotations})}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
