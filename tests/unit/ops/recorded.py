"""A state recorded from the engine (see `data/`): an `up` had just begun to create one of two RayClusters."""

from __future__ import annotations

import json
from pathlib import Path

from components.cluster.paths import object_path
from ops import stack_objects

DATA = Path(__file__).with_name("data")
STATE = json.loads((DATA / "state-halfway.json").read_text())
RESOURCES = STATE["resources"]


def named(kind: str, namespace: str, name: str) -> stack_objects.Object:
    """An object of one of KubeRay's kinds."""
    return stack_objects.Object(kind, namespace, name, object_path("ray.io/v1", kind, namespace, name))
