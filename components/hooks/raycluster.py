"""Pulumi hooks of a RayCluster: review of updates, reasons while it is not ready."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pulumi

from components.cluster.api import Api
from components.hooks import progress
from components.hooks.update_review import UpdateReview


@dataclass(frozen=True)
class RayClusterHooks:
    """The hooks of all RayClusters of a stack.

    Attributes:
        api: API server of the cluster.
        operator_namespace: namespace of the operator.
        review: reviews their updates.
    """

    api: Api
    operator_namespace: str
    review: UpdateReview

    def before_update(self, resource: str, manifest: Mapping[str, Any]) -> pulumi.ResourceHookBinding:
        """Returns the hook that reviews updates of a RayCluster, whose resource in Pulumi is called `resource`."""
        metadata = manifest["metadata"]
        return self.review.hook(resource, metadata["namespace"], metadata["name"])

    def report_progress(
        self, manifest: Mapping[str, Any], *, component: pulumi.Resource, raycluster: pulumi.CustomResource
    ) -> None:
        """Reports as warnings on `component` why the RayCluster is not ready, until it is."""
        metadata = manifest["metadata"]
        progress.report_until_ready(
            self.api,
            manifest,
            self.operator_namespace,
            component=component,
            raycluster=raycluster,
            restarts=partial(self.review.restarts, metadata["namespace"], metadata["name"]),
        )
