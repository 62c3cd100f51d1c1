"""A RayCluster and the objects around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi

from components.errors import StackError
from components.hooks.raycluster import RayClusterHooks
from components.manifests import keeper, raycluster
from components.manifests.objects import created_after, created_before
from components.resources.keeper import Keeper
from components.resources.kubernetes_object import declare
from components.settings.kuberay import KubeRay
from components.settings.monitoring import OFF, Monitoring
from components.settings.raycluster import RayClusterSettings


class RayCluster(pulumi.ComponentResource):
    """A RayCluster and the objects around it. It is created once the cluster is ready.

    Args:
        name: name of the component and of the RayCluster's resource.
        settings: settings of the cluster.
        kuberay: settings of the operator.
        manifest: the RayCluster of these settings. Default: it is built here, without the checks of `build_and_check`.
        monitoring: settings of monitoring.
        outputs: the stack's contract, of which a keeper gets its cluster. Required with a keeper.
        namespace: its namespace. Everything is deleted before it.
        depends_on: the CRDs and the operator. The RayCluster is deleted before them.
        protect: refuse to delete the RayCluster, and the volume of its keeper.
        hooks: review of updates and report of progress; None: neither, as when manifests are only rendered.
        opts: options of the component.

    Attributes:
        object: the resource of the RayCluster itself.
    """

    object: pulumi.CustomResource

    def __init__(
        self,
        name: str,
        settings: RayClusterSettings,
        kuberay: KubeRay,
        *,
        manifest: dict[str, Any] | None = None,
        monitoring: Monitoring = OFF,
        outputs: Mapping[str, Any] | None = None,
        namespace: pulumi.Resource | None = None,
        depends_on: Sequence[pulumi.Resource] = (),
        protect: bool = False,
        hooks: RayClusterHooks | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        if settings.keeper and outputs is None:
            raise StackError(f"RayCluster {name}: its keeper requires the argument `outputs`, the stack's contract")
        super().__init__("ray-on-kubernetes:raycluster:RayCluster", name, {}, opts)
        manifest = manifest or raycluster.manifest(settings, kuberay.version, monitoring)
        ready, deleted = f"{settings.ready_timeout_seconds}s", f"{settings.delete_timeout_seconds}s"
        # These are created while the CRDs and the operator are not ready yet.
        in_namespace = [namespace] if namespace else []
        before = [self._declare(other, in_namespace) for other in created_before(settings, kuberay, monitoring)]
        self.object = declare(
            name,
            manifest,
            pulumi.ResourceOptions(
                parent=self,
                depends_on=[*in_namespace, *depends_on, *before],
                protect=protect,
                hooks=hooks.before_update(name, manifest) if hooks else None,
                custom_timeouts=pulumi.CustomTimeouts(create=ready, update=ready, delete=deleted),
            ),
        )
        for other in created_after(settings):
            self._declare(other, [self.object])
        if settings.keeper and outputs is not None:
            Keeper(
                f"{name}/keeper",
                settings.keeper,
                keeper.objects(settings, monitoring, outputs),
                depends_on=in_namespace,
                raycluster=self.object,
                protect=protect,
                opts=pulumi.ResourceOptions(parent=self),
            )
        if hooks:
            hooks.report_progress(manifest, component=self, raycluster=self.object, after=before)

    def _declare(self, manifest: dict[str, Any], depends_on: Sequence[pulumi.Resource]) -> pulumi.CustomResource:
        metadata = manifest["metadata"]
        name = f"{metadata['namespace']}/{manifest['kind']}/{metadata['name']}"
        return declare(name, manifest, pulumi.ResourceOptions(parent=self, depends_on=list(depends_on)))
