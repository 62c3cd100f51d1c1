"""Pulumi hooks of a RayCluster: review of updates, reasons while it is not ready."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pulumi

from components.hooks.progress import ReadinessWatch
from components.hooks.update_review import UpdateReview


@dataclass(frozen=True)
class RayClusterHooks:
    """The hooks of all RayClusters of a stack.

    Attributes:
        watch: reports why they are not ready.
        review: reviews their updates.
    """

    watch: ReadinessWatch
    review: UpdateReview

    def before_update(self, resource: str, manifest: Mapping[str, Any]) -> pulumi.ResourceHookBinding:
        """Returns the hook that reviews updates of a RayCluster, whose resource in Pulumi is called `resource`."""
        metadata = manifest["metadata"]
        return self.review.hook(resource, metadata["namespace"], metadata["name"])

    def report_progress(
        self,
        manifest: Mapping[str, Any],
        *,
        component: pulumi.Resource,
        raycluster: pulumi.CustomResource,
        after: Sequence[pulumi.Resource],
    ) -> None:
        """Reports as warnings on `component` why the RayCluster, created after `after`, is not ready, until it is."""
        metadata = manifest["metadata"]
        self.watch.report_until_ready(
            manifest,
            component=component,
            raycluster=raycluster,
            after=after,
            restarts=partial(self.review.restarts, metadata["namespace"], metadata["name"]),
        )
