"""Ray on Kubernetes as Pulumi components, for this program and for others: `from components import RayCluster`.

The names are loaded when they are used: `import components.settings` does not import Pulumi.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from components.resources.crds import KubeRayCRDs
    from components.resources.monitoring import Monitoring
    from components.resources.namespace import Namespace
    from components.resources.operator import KubeRayOperator
    from components.resources.raycluster import RayCluster
    from components.settings import Settings

__all__ = ["KubeRayCRDs", "KubeRayOperator", "Monitoring", "Namespace", "RayCluster", "Settings"]

_MODULES = {
    "KubeRayCRDs": "components.resources.crds",
    "KubeRayOperator": "components.resources.operator",
    "Monitoring": "components.resources.monitoring",
    "Namespace": "components.resources.namespace",
    "RayCluster": "components.resources.raycluster",
    "Settings": "components.settings",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
