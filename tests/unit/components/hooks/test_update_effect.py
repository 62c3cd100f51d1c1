"""What a change does to running pods, by the operator's rules."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pulumi
import pytest

from components.hooks import update_review as review
from components.hooks.update_effect import Effect, effect

BASE: dict[str, Any] = {
    "rayVersion": "2.60.0",
    "enableInTreeAutoscaling": True,
    "autoscalerOptions": {"version": "v2", "idleTimeoutSeconds": 60},
    "headGroupSpec": {"rayStartParams": {}, "template": {"spec": {"containers": [{"name": "ray-head", "image": "a"}]}}},
    "workerGroupSpecs": [
        {
            "groupName": name,
            "minReplicas": 1,
            "maxReplicas": 3,
            "template": {"spec": {"containers": [{"name": "ray-worker", "image": "a"}]}},
        }
        for name in ("cpu", "gpu")
    ],
}


def spec(strategy: str | None = None) -> dict[str, Any]:
    found = copy.deepcopy(BASE)
    if strategy:
        found["upgradeStrategy"] = {"type": strategy}
    return found


def image(found: dict[str, Any], group: int) -> None:
    found["workerGroupSpecs"][group]["template"]["spec"]["containers"][0]["image"] = "b"


def test_nothing_restarts_by_itself_and_the_changed_group_is_named_as_stale() -> None:
    new = spec()
    image(new, 1)
    assert effect(spec(), new) == Effect(stale=("gpu",))
    assert "does not restart gpu" in effect(spec(), new).lines()[0]


def test_recreate_restarts_every_group_and_ends_jobs() -> None:
    new = spec("Recreate")
    image(new, 1)
    found = effect(spec("Recreate"), new)
    assert found == Effect(restarted=("head", "cpu", "gpu"))
    assert found.ends_jobs


def test_recreate_restarts_everything_even_for_an_autoscaler_option() -> None:
    new = spec("Recreate")
    new["autoscalerOptions"]["idleTimeoutSeconds"] = 90
    assert effect(spec("Recreate"), new).restarted == ("head", "cpu", "gpu")


@pytest.mark.parametrize(("field", "count"), [("minReplicas", 2), ("maxReplicas", 4), ("replicas", 2)])
def test_counts_restart_nothing(field: str, count: int) -> None:
    new = spec("Recreate")
    new["workerGroupSpecs"][0][field] = count
    assert effect(spec("Recreate"), new) == Effect()


def sized(autoscaling: bool, **counts: int) -> dict[str, Any]:
    found = spec()
    found["enableInTreeAutoscaling"] = autoscaling
    found["workerGroupSpecs"][0].update(counts)
    found["workerGroupSpecs"][1].update({} if autoscaling else {"replicas": 3})
    return found


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (sized(True, maxReplicas=3), sized(True, maxReplicas=2)),
        (sized(False, replicas=3), sized(False, replicas=2)),
        (sized(False, replicas=3), sized(False, replicas=3, maxReplicas=2)),
        (sized(True, maxReplicas=3), sized(False, replicas=1)),
    ],
    ids=["a lower maximum", "fewer replicas", "a maximum below the replicas", "autoscaling switched off"],
)
def test_a_group_that_may_lose_workers_is_named(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert effect(old, new).shrunk == ("cpu",)
    assert "may remove workers of cpu," in effect(old, new).lines()[-1]


def test_more_workers_or_the_autoscaler_in_place_of_as_many_remove_none() -> None:
    assert not effect(sized(False, replicas=2), sized(False, replicas=3)).shrunk
    assert not effect(sized(False, replicas=3), sized(True, maxReplicas=3)).shrunk


def test_tolerations_restart_nothing_and_reach_new_pods_only() -> None:
    new = spec("Recreate")
    new["workerGroupSpecs"][0]["template"]["spec"]["tolerations"] = [{"operator": "Exists"}]
    assert effect(spec("Recreate"), new) == Effect(stale=("cpu",))


def test_turning_recreate_on_restarts_nothing() -> None:
    assert effect(spec(), spec("Recreate")) == Effect()


def test_a_new_ray_version_concerns_every_group() -> None:
    new = spec()
    new["rayVersion"] = "2.61.0"
    assert effect(spec(), new).stale == ("head", "cpu", "gpu")


def test_pods_of_a_removed_group_run_on() -> None:
    new = spec()
    del new["workerGroupSpecs"][1]
    found = effect(spec(), new)
    assert found == Effect(orphaned=("gpu",))
    assert "leaves pods of gpu running" in found.lines()[0]


def test_a_new_group_concerns_no_running_pod() -> None:
    old = spec()
    del old["workerGroupSpecs"][1]
    assert effect(old, spec()) == Effect()


def test_suspending_ends_jobs_and_resuming_does_not() -> None:
    suspended = {**spec(), "suspend": True}
    assert effect(spec(), suspended).ends_jobs
    assert effect(suspended, spec()) == Effect()


def test_an_update_that_restarts_pods_is_known_while_up_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulumi.log, "warn", lambda *_: None)
    made = review.UpdateReview(protected=False, confirmed=False, running_jobs=lambda *_: [])
    new = spec("Recreate")
    image(new, 1)
    for old, restarts in ((new, False), (spec("Recreate"), True)):
        inputs = {"spec": new}, {"spec": old}
        asyncio.run(made.before_update("ns", "ray", pulumi.ResourceHookArgs("urn", "id", "name", "type", *inputs)))
        assert made.restarts("ns", "ray") == restarts
    assert not made.restarts("ns", "another")
