"""Grafana dashboards as ConfigMaps; pure. One each: KubeRay's own, with all in one, outgrew the 1 MiB of a ConfigMap
(ray-project/kuberay#4977)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from components.manifests.merge import drop_empty
from components.settings.monitoring import Dashboards

Object = dict[str, Any]

# The sidecar of Grafana's Helm chart looks for this value by default, and for this annotation if it is told to.
LABEL_VALUE = "1"
FOLDER_ANNOTATION = "grafana_folder"


def config_maps(settings: Dashboards, dashboards: Mapping[str, Object]) -> list[Object]:
    """Builds one ConfigMap for each dashboard.

    Args:
        settings: where they go, and how Grafana finds them.
        dashboards: Grafana's JSON model of each, by its uid, such as `rayDefaultDashboard`.
    """
    return [_config_map(settings, uid, dashboard) for uid, dashboard in sorted(dashboards.items())]


def _config_map(settings: Dashboards, uid: str, dashboard: Object) -> Object:
    text = json.dumps(dashboard, sort_keys=True, separators=(",", ":"))
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", uid).lower(),
            "namespace": settings.namespace,
            "labels": {settings.label: LABEL_VALUE},
            **drop_empty({"annotations": {FOLDER_ANNOTATION: settings.folder} if settings.folder else {}}),
        },
        "data": {f"{uid}.json": text},
    }
