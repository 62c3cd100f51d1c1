"""The Namespace object; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def manifest(name: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """Builds the Namespace object."""
    metadata = {"name": name, **({"labels": dict(labels)} if labels else {})}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
