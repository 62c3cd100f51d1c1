"""What a change of a RayCluster's spec does to its running pods. Pure; the rules are the operator's (v1.6 and later).

The operator restarts pods for one reason only: `upgradeStrategy: Recreate` and a spec whose hash differs, where the
hash leaves out replica counts, tolerations, scheduling gates and the strategy itself. Then every pod goes, the head
with all jobs too. Otherwise running pods keep what they were made with; later pods get the new template (KubeRay's
raycluster_controller.go, `shouldRecreatePodsForUpgrade`, and util.go, `GenerateHashWithoutReplicasAndWorkersToDelete`).
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
    """Names of groups (`head`, or a worker group's name), in the spec's order.

    `restarted`: every pod of theirs is deleted and made again. `stale`: changed, but running pods keep the old
    settings. `orphaned`: gone from the spec, while their pods run on. `shrunk`: groups
    that may lose workers, because fewer are wanted or allowed than before. `stopped`: the cluster is suspended.
    """

    restarted: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    orphaned: tuple[str, ...] = ()
    shrunk: tuple[str, ...] = ()
    stopped: bool = False

    @property
    def ends_jobs(self) -> bool:
        return self.stopped or HEAD in self.restarted

    def lines(self) -> list[str]:
        """For a person who reads a preview; empty where running pods are not concerned."""
        if self.stopped:
            return ["suspends the cluster: every pod is deleted, running jobs end and are lost"]
        found = []
        if self.restarted:
            found.append(
                f"restarts {_listed(self.restarted)} (upgradeStrategy Recreate): running jobs end, and without GCS "
                "fault tolerance Ray forgets them"
            )
        if self.stale:
            found.append(
                f"does not restart {_listed(self.stale)}: running pods keep the old settings, new ones get the new; "
                "delete the pods, or set `upgradeStrategy: Recreate`, to roll them out"
            )
        if self.orphaned:
            found.append(
                f"leaves pods of {_listed(self.orphaned)} running, and the operator no longer looks after them"
            )
        if self.shrunk:
            found.append(
                f"may remove workers of {_listed(self.shrunk)}, where more run than are allowed from now on; what ran "
                "on them is lost or tried again"
            )
        return found


def effect(old: Spec, new: Spec) -> Effect:
    """Effect of replacing `old` by `new`.

    Where the operator itself is upgraded in the same update it takes the new spec for granted and restarts nothing;
    that cannot be seen from the specs, and is said as a restart.
    """
    if new.get("suspend") and not old.get("suspend"):
        return Effect(stopped=True)
    if old.get("suspend"):
        return Effect()  # nothing runs that could be concerned
    before, after = _groups(old), _groups(new)
    kept = [name for name in after if name in before]
    removed = tuple(name for name in before if name not in after)
    changed = _hashed(old) != _hashed(new)
    recreates = (new.get("upgradeStrategy") or {}).get("type") == "Recreate"
    if changed and recreates:
        return Effect(restarted=tuple(kept) + removed)
    stale = tuple(name for name in kept if before[name] != after[name] or _shared(old) != _shared(new))
    most_before, most_after = _most(old), _most(new)
    shrunk = tuple(name for name in kept if name != HEAD and most_after[name] < most_before[name])
    return Effect(stale=stale, orphaned=removed, shrunk=shrunk)


def _most(spec: Spec) -> dict[str, float]:
    """How many workers each group can have: as the autoscaler may, without it as many as are asked for."""
    found = {}
    for group in spec.get("workerGroupSpecs") or []:
        most = float(group.get("maxReplicas", "inf"))
        if not spec.get("enableInTreeAutoscaling"):
            most = min(most, max(group.get("replicas", 0), group.get("minReplicas", 0)))
        found[group["groupName"]] = most
    return found


def _groups(spec: Spec) -> dict[str, Any]:
    """What a pod of each group is made from."""
    workers = {group["groupName"]: _without_counts(group) for group in spec.get("workerGroupSpecs") or []}
    autoscaler = (spec.get("enableInTreeAutoscaling"), spec.get("autoscalerOptions"))
    return {HEAD: (spec.get("headGroupSpec"), autoscaler), **workers}


def _shared(spec: Spec) -> tuple[Any, ...]:
    """Settings that go into the pods of every group."""
    keys = ("rayVersion", "authOptions", "gcsFaultToleranceOptions", "tlsOptions")
    return tuple(spec.get(key) for key in keys)


def _without_counts(group: Mapping[str, Any]) -> dict[str, Any]:
    own = ("scaleStrategy", "idleTimeoutSeconds", "priority")
    return {key: value for key, value in group.items() if key not in (*COUNTS, *own)}


def _hashed(spec: Spec) -> dict[str, Any]:
    """The part of the spec that the operator's hash is over."""
    found = copy.deepcopy(dict(spec))
    found.pop("upgradeStrategy", None)
    for group in [found.get("headGroupSpec") or {}, *(found.get("workerGroupSpecs") or [])]:
        for key in COUNTS:
            group.pop(key, None)
        (group.get("scaleStrategy") or {}).pop("workersToDelete", None)
        pod = (group.get("template") or {}).get("spec") or {}
        pod.pop("tolerations", None)
        pod.pop("schedulingGates", None)
    return found


def _listed(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
