"""The effect of a change of a RayCluster's spec on its running pods; pure. The rules: KubeRay v1.6 and later.

The operator restarts pods only with `upgradeStrategy: Recreate`, and only for a spec with another hash. The hash
ignores replica counts, tolerations, scheduling gates and the strategy itself. A restart deletes every pod, the head and
all jobs with it. Without a restart running pods keep their spec, and only new pods get the new one.

Source: KubeRay's raycluster_controller.go (`shouldRecreatePodsForUpgrade`) and util.go
(`GenerateHashWithoutReplicasAndWorkersToDelete`).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

HEAD = "head"
COUNTS = ("replicas", "minReplicas", "maxReplicas")
Spec = Mapping[str, Any]


@dataclass(frozen=True)
class Effect:
    """The effect of an update. A group is `head` or the name of a worker group.

    Attributes:
        restarted: groups of which every pod is deleted and created again.
        stale: groups that changed, but whose running pods keep the old settings.
        orphaned: groups that are no longer in the spec, but whose pods keep running.
        shrunk: groups that may lose workers, because their new number or maximum is lower.
        suspended: the cluster is suspended.
    """

    restarted: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    orphaned: tuple[str, ...] = ()
    shrunk: tuple[str, ...] = ()
    suspended: bool = False

    @property
    def ends_jobs(self) -> bool:
        """Whether running jobs end: the head is deleted."""
        return self.suspended or HEAD in self.restarted

    def lines(self) -> list[str]:
        """Returns one sentence for each effect, for the reader of a preview. Each continues "this update"."""
        if self.suspended:
            return ["suspends the cluster: every pod is deleted, running jobs end and are lost"]
        lines = []
        if self.restarted:
            lines.append(
                f"restarts {_listed(self.restarted)} (upgradeStrategy Recreate): running jobs end, and without GCS "
                "fault tolerance they are lost"
            )
        if self.stale:
            lines.append(
                f"does not restart {_listed(self.stale)}: running pods keep the old settings, only new pods get the "
                "new ones; to roll them out, delete the pods or set `upgradeStrategy: Recreate`"
            )
        if self.orphaned:
            lines.append(f"leaves pods of {_listed(self.orphaned)} running, and the operator no longer manages them")
        if self.shrunk:
            lines.append(
                f"may remove workers of {_listed(self.shrunk)}, if more of them run than the new maximum; tasks on "
                "them are lost or retried"
            )
        return lines


def effect(old: Spec, new: Spec) -> Effect:
    """Returns the effect of an update from the spec `old` to the spec `new`.

    An operator that is upgraded in the same update accepts the new spec and restarts nothing. The specs do not show
    that, so it counts as a restart here.
    """
    if new.get("suspend") and not old.get("suspend"):
        return Effect(suspended=True)
    if old.get("suspend"):
        return Effect()  # no pod runs
    before, after = _groups(old), _groups(new)
    remaining = [name for name in after if name in before]
    removed = tuple(name for name in before if name not in after)
    changed = _hashed(old) != _hashed(new)
    recreates = (new.get("upgradeStrategy") or {}).get("type") == "Recreate"
    if changed and recreates:
        return Effect(restarted=tuple(remaining) + removed)
    stale = tuple(name for name in remaining if before[name] != after[name] or _shared(old) != _shared(new))
    limits_before, limits_after = _most_workers(old), _most_workers(new)
    shrunk = tuple(name for name in remaining if name != HEAD and limits_after[name] < limits_before[name])
    return Effect(stale=stale, orphaned=removed, shrunk=shrunk)


def _most_workers(spec: Spec) -> dict[str, float]:
    """Returns the most workers that each group can have: its maximum, or without the autoscaler its number of
    replicas."""
    limits = {}
    for group in spec.get("workerGroupSpecs") or []:
        most = float(group.get("maxReplicas", "inf"))
        if not spec.get("enableInTreeAutoscaling"):
            most = min(most, max(group.get("replicas", 0), group.get("minReplicas", 0)))
        limits[group["groupName"]] = most
    return limits


def _groups(spec: Spec) -> dict[str, Any]:
    """Returns the part of the spec that makes up a pod of each group."""
    workers = {group["groupName"]: _without_counts(group) for group in spec.get("workerGroupSpecs") or []}
    autoscaler = (spec.get("enableInTreeAutoscaling"), spec.get("autoscalerOptions"))
    return {HEAD: (spec.get("headGroupSpec"), autoscaler), **workers}


def _shared(spec: Spec) -> tuple[Any, ...]:
    """Returns the settings that are part of the pods of every group."""
    keys = ("rayVersion", "authOptions", "gcsFaultToleranceOptions", "tlsOptions")
    return tuple(spec.get(key) for key in keys)


def _without_counts(group: Mapping[str, Any]) -> dict[str, Any]:
    own = ("scaleStrategy", "idleTimeoutSeconds", "priority")
    return {key: value for key, value in group.items() if key not in (*COUNTS, *own)}


def _hashed(spec: Spec) -> dict[str, Any]:
    """Returns the part of the spec that the operator's hash covers."""
    hashed = copy.deepcopy(dict(spec))
    hashed.pop("upgradeStrategy", None)
    for group in [hashed.get("headGroupSpec") or {}, *(hashed.get("workerGroupSpecs") or [])]:
        for key in COUNTS:
            group.pop(key, None)
        (group.get("scaleStrategy") or {}).pop("workersToDelete", None)
        pod = (group.get("template") or {}).get("spec") or {}
        pod.pop("tolerations", None)
        pod.pop("schedulingGates", None)
    return hashed


def _listed(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
