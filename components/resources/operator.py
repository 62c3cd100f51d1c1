"""The KubeRay operator: its RBAC and its Deployment, from their kustomize overlay."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pulumi
from pulumi_kubernetes import kustomize

from components.settings.kuberay import KubeRay


class KubeRayOperator(pulumi.ComponentResource):
    """The KubeRay operator. It is created once its Deployment is available.

    Args:
        name: name of the component.
        settings: settings of the operator.
        overlay: folder of its kustomize overlay, relative to the project (components.kuberay.overlay).
        depends_on: its namespace, and the CRDs that it watches. It is deleted before them.
        opts: options of the component.
    """

    def __init__(
        self,
        name: str,
        settings: KubeRay,
        *,
        overlay: Path,
        depends_on: Sequence[pulumi.Resource],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("ray-on-kubernetes:kuberay:Operator", name, {"version": settings.version}, opts)
        kustomize.v2.Directory(
            name,
            directory=str(overlay),
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(depends_on)),
        )
        self.register_outputs({"version": settings.version})
