"""What looks at a RayCluster's update, called as the engine calls it."""

from __future__ import annotations

import asyncio
from typing import Any

import pulumi
import pytest

from components.errors import StackError
from components.hooks.update_review import UpdateReview

OLD = {"headGroupSpec": {"template": {}}, "upgradeStrategy": {"type": "Recreate"}}
NEW = {**OLD, "rayVersion": "2.60.0"}


def update(old: dict[str, Any], new: dict[str, Any], jobs: list[str], secret: bool = False) -> None:
    """An update of the spec `old` to `new` on a protected stack where `jobs` run."""

    async def call() -> None:
        old_inputs, new_inputs = ({"spec": pulumi.Output.secret(one) if secret else one} for one in (old, new))
        args = pulumi.ResourceHookArgs("urn", "id", "name", "type", new_inputs, old_inputs)
        review = UpdateReview(protected=True, confirmed=False, running_jobs=lambda *_: jobs)
        await review.before_update("team-a", "ray", args)

    asyncio.run(call())


def test_an_update_that_ends_running_jobs_is_refused_on_a_protected_stack_and_any_other_is_not() -> None:
    with pytest.raises(StackError, match=r"team-a/ray: .*jobs run: a-job"):
        update(OLD, NEW, ["a-job"])
    update(OLD, NEW, [])
    update(OLD, OLD, ["a-job"])


def test_a_spec_with_secret_values_in_it_is_looked_at_all_the_same() -> None:
    with pytest.raises(StackError, match="jobs run: a-job"):
        update(OLD, NEW, ["a-job"], secret=True)
