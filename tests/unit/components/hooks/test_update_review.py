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


@pytest.mark.parametrize("preview", [True, False])
def test_a_preview_that_may_not_ask_for_jobs_says_so_and_an_up_is_refused(
    preview: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: str) -> list[str]:
        raise RuntimeError("not allowed")

    warnings: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", warnings.append)
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: preview)
    args = pulumi.ResourceHookArgs("urn", "id", "name", "type", {"spec": NEW}, {"spec": OLD})
    review = UpdateReview(protected=True, confirmed=False, running_jobs=forbidden)
    if preview:
        asyncio.run(review.before_update("team-a", "ray", args))
        assert "does not know whether jobs run (not allowed)" in warnings[-1]
    else:
        with pytest.raises(StackError, match="not known whether jobs run"):
            asyncio.run(review.before_update("team-a", "ray", args))
