"""Review of a RayCluster's update before it happens, in previews too: its effect in words; refused where it ends jobs.

A hook of the engine gets the old and the new inputs. The program passes in a function that lists running jobs.
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
"""Namespace and name of a RayCluster to one line for each job that has not ended. Raises where that cannot be known."""


@dataclass(frozen=True)
class UpdateReview:
    """Reviews updates of RayClusters.

    Attributes:
        protected: refuse an update that ends running jobs.
        confirmed: do not refuse it.
        running_jobs: finds the running jobs.
    """

    protected: bool
    confirmed: bool
    running_jobs: RunningJobs
    _restarting: set[tuple[str, str]] = field(default_factory=set, init=False)

    def restarts(self, namespace: str, cluster: str) -> bool:
        """Returns whether an update of the RayCluster in this run restarts pods, as far as the run has come."""
        return (namespace, cluster) in self._restarting

    def hook(self, resource: str, namespace: str, cluster: str) -> ResourceHookBinding:
        """Returns the hook for one RayCluster, whose resource in Pulumi is called `resource`."""

        async def before_update(args: ResourceHookArgs) -> None:
            await self.before_update(namespace, cluster, args)

        options = ResourceHookOptions(on_dry_run=True)
        return ResourceHookBinding(before_update=[ResourceHook(f"review {resource}", before_update, options)])

    async def before_update(self, namespace: str, cluster: str, args: ResourceHookArgs) -> None:
        """Warns of the update's effect. Raises StackError where it would end jobs of a protected stack.

        Where it is not known whether jobs run, only a preview continues.
        """
        update = effect(await _spec(args.old_inputs), await _spec(args.new_inputs))
        for line in update.lines():
            pulumi.log.warn(f"{namespace}/{cluster}: this update {line}")
        if update.restarted:
            self._restarting.add((namespace, cluster))
        if update.ends_jobs and self.protected and not self.confirmed:
            self._refuse_while_jobs_run(namespace, cluster)

    def _refuse_while_jobs_run(self, namespace: str, cluster: str) -> None:
        try:
            jobs = self.running_jobs(namespace, cluster)
        except Exception as error:
            if pulumi.runtime.is_dry_run():
                # The user of a preview may have no right to reach the Ray cluster: that is the right to submit jobs.
                pulumi.log.warn(
                    f"{namespace}/{cluster}: this stack is protected, and `pulumi up` refuses this update while jobs "
                    f"run. This preview does not know whether jobs run ({error})"
                )
                return
            reason = f"it is not known whether jobs run ({error})"
        else:
            if not jobs:
                return
            reason = f"jobs run: {'; '.join(jobs)}"
        raise StackError(
            f"{namespace}/{cluster}: this stack is protected, the update would end every job, and {reason}. "
            "Wait for the jobs. Or confirm once: `pulumi up --config ray-on-kubernetes:confirmRestart=true`, then "
            "`pulumi config rm confirmRestart`, because Pulumi writes the value into the stack file."
        )


async def _spec(inputs: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Returns the spec in the inputs of a hook. One secret value in it makes the whole spec an output."""
    spec = (inputs or {}).get("spec")
    return (await spec.future() if isinstance(spec, pulumi.Output) else spec) or {}
