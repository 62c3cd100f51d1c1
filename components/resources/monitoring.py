"""PodMonitors, alerts and dashboards of a stack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pulumi

from components.cluster.context import KubernetesCluster
from components.grafana.dashboards import version_warnings
from components.manifests.objects import pod_monitors, rules
from components.resources.applied import AppliedObjects
from components.resources.kubernetes_object import declare
from components.settings import Settings


class Monitoring(pulumi.ComponentResource):
    """PodMonitors, PrometheusRules and dashboards of a stack. They are created beside everything else.

    Args:
        name: name of the component.
        settings: settings of the stack.
        dashboards: the ConfigMaps of the dashboards; empty: none.
        cluster: the cluster; None: render mode.
        depends_on: the namespaces of the stack, and the provider, which has compared the cluster's identity.
        opts: options of the component.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        *,
        dashboards: Sequence[dict[str, Any]],
        cluster: KubernetesCluster | None,
        depends_on: Sequence[pulumi.Resource],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("ray-on-kubernetes:monitoring:Monitoring", name, {}, opts)
        for line in version_warnings(settings):
            pulumi.log.warn(line, self)
        options = pulumi.ResourceOptions(parent=self, depends_on=list(depends_on))
        large = [*rules(settings), *dashboards]
        for manifest in [*pod_monitors(settings), *([] if cluster else large)]:
            metadata = manifest["metadata"]
            declare(f"{metadata['namespace']}/{manifest['kind']}/{metadata['name']}", manifest, options)
        if cluster and large:
            AppliedObjects("monitoring", large, cluster, adopt=settings.adopt, opts=options)
        self.register_outputs({})
