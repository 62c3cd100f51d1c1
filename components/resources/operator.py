"""The KubeRay operator: RBAC and manager from its kustomize overlay."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pulumi
from pulumi_kubernetes import kustomize


class KubeRayOperator(pulumi.ComponentResource):
    """`overlay`: its directory, relative to the project. `depends_on`: its namespace and the CRDs, which it watches.

    Registered when the operator's Deployment is available; its end comes before that of what it depends on.
    """

    def __init__(
        self,
        name: str,
        *,
        overlay: Path,
        version: str,
        depends_on: Sequence[pulumi.Resource],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("ray-on-kubernetes:kuberay:Operator", name, {"version": version}, opts)
        kustomize.v2.Directory(
            name,
            directory=str(overlay),
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(depends_on)),
        )
        self.register_outputs({"version": version})
