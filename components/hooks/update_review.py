"""A RayCluster's update, said in words before it happens, in previews too; and refused where it would end jobs.

A hook of the engine's: it sees the old and the new inputs side by side. What runs on the cluster is asked of a
callable that the program gives: nothing here knows how jobs are found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pulumi
from pulumi import ResourceHook, ResourceHookArgs, ResourceHookBinding, ResourceHookOptions

from components.errors import StackError
from components.hooks.update_effect import effect

RunningJobs = Callable[[str, str], list[str]]
"""(namespace, name of the RayCluster) -> a line for each job that has not ended. Raises where it cannot be known."""


@dataclass(frozen=True)
class Review:
    """`protected`: an update that ends running jobs is refused unless `confirmed`."""

    protected: bool
    confirmed: bool
    running_jobs: RunningJobs
    _restarting: set[tuple[str, str]] = field(default_factory=set, init=False)

    def restarts(self, namespace: str, cluster: str) -> bool:
        """Whether this run's update of the RayCluster, as far as it has come, restarts pods."""
        return (namespace, cluster) in self._restarting

    def hook(self, name: str, namespace: str, cluster: str) -> ResourceHookBinding:
        """For the RayCluster `cluster` in `namespace`; `name` is its resource's."""

        async def before_update(args: ResourceHookArgs) -> None:
            await self.before_update(namespace, cluster, args)

        options = ResourceHookOptions(on_dry_run=True)
        return ResourceHookBinding(before_update=[ResourceHook(f"review {name}", before_update, options)])

    async def before_update(self, namespace: str, cluster: str, args: ResourceHookArgs) -> None:
        found = effect(await _spec(args.old_inputs), await _spec(args.new_inputs))
        for line in found.lines():
            pulumi.log.warn(f"{namespace}/{cluster}: this update {line}")
        if found.restarted:
            self._restarting.add((namespace, cluster))
        if found.ends_jobs and self.protected and not self.confirmed:
            self._refuse_while_jobs_run(namespace, cluster)

    def _refuse_while_jobs_run(self, namespace: str, cluster: str) -> None:
        try:
            jobs = self.running_jobs(namespace, cluster)
        except Exception as error:
            reason = f"whether jobs run is not known ({error})"
        else:
            if not jobs:
                return
            reason = f"jobs run: {'; '.join(jobs)}"
        raise StackError(
            f"{namespace}/{cluster}: this stack is protected, the update would end every job, and {reason}. "
            "Wait for them, or confirm once: `pulumi up --config ray-on-kubernetes:confirmRestart=true`, "
            "then `pulumi config rm confirmRestart`, for Pulumi writes it into the stack file."
        )


async def _spec(inputs: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The spec in a hook's inputs, where one secret value in it makes the whole of it an output."""
    spec = (inputs or {}).get("spec")
    return (await spec.future() if isinstance(spec, pulumi.Output) else spec) or {}
