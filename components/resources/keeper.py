"""The keeper of a RayCluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pulumi

from components.resources.kubernetes_object import declare
from components.settings.keeper import Keeper as KeeperSettings


class Keeper(pulumi.ComponentResource):
    """The keeper of a RayCluster and the objects around it. It is created once it keeps.

    Args:
        name: name of the component.
        settings: settings of the keeper.
        manifests: its objects, the Deployment last (`manifests.keeper.objects`).
        depends_on: what all of them need: the namespace.
        raycluster: the RayCluster, whose jobs the Deployment keeps.
        protect: refuse to delete the volume.
        opts: options of the component.
    """

    def __init__(
        self,
        name: str,
        settings: KeeperSettings,
        manifests: Sequence[dict[str, Any]],
        *,
        depends_on: Sequence[pulumi.Resource],
        raycluster: pulumi.Resource,
        protect: bool,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("ray-on-kubernetes:keeper:Keeper", name, {}, opts)
        options = pulumi.ResourceOptions(parent=self, depends_on=list(depends_on))
        # A volume cannot change its class: checks/keeper_volumes.py refuses that. The engine would delete the volume,
        # and wait for the keeper that still uses it.
        volume = pulumi.ResourceOptions(
            protect=protect, retain_on_delete=settings.retain, ignore_changes=["spec.storageClassName"]
        )
        *others, deployment = manifests
        before = [
            self._declare(
                manifest,
                pulumi.ResourceOptions.merge(options, volume)
                if manifest["kind"] == "PersistentVolumeClaim"
                else options,
            )
            for manifest in others
        ]
        ready = f"{settings.ready_timeout_seconds}s"
        self._declare(
            deployment,
            pulumi.ResourceOptions(
                parent=self,
                depends_on=[*depends_on, *before, raycluster],
                custom_timeouts=pulumi.CustomTimeouts(create=ready, update=ready),
            ),
        )
        self.register_outputs({})

    def _declare(self, manifest: dict[str, Any], options: pulumi.ResourceOptions) -> pulumi.CustomResource:
        metadata = manifest["metadata"]
        return declare(f"{metadata['namespace']}/{manifest['kind']}/{metadata['name']}", manifest, options)
