"""What may be taken over of the objects that are on the cluster already."""

from __future__ import annotations

from typing import Any, cast

import pulumi
import pytest

from components.hooks import ownership
from components.hooks.ownership import STATE, URN, refusal
from components.resources.cluster_identity import _StateProvider

ID = {"uid": "u", "context": "c", "state_id": "4f"}
OURS = "urn:pulumi:dev::ray-on-kubernetes::kubernetes:core/v1:ConfigMap::team/mine"
META = {"name": "mine", "namespace": "team", "annotations": {URN: OURS, STATE: "4f"}}
MANIFEST = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": META}


def found(annotations: dict[str, str] | None) -> dict[str, Any]:
    return {"metadata": {"name": "mine", "annotations": annotations}}


def test_what_is_not_there_may_be_made() -> None:
    assert refusal(MANIFEST, None) is None


def test_what_an_earlier_run_made_of_this_very_resource_is_taken_up_again() -> None:
    assert refusal(MANIFEST, found({URN: OURS, STATE: "4f", "other": "x"})) is None


@pytest.mark.parametrize("adopt", [True, False])
def test_every_object_is_marked_and_what_is_there_looked_at_unless_it_is_adopted(
    adopt: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    transforms: list[Any] = []
    monkeypatch.setattr(pulumi.runtime, "register_resource_transform", transforms.append)
    monkeypatch.setattr(pulumi, "create_urn", lambda *_: OURS)
    monkeypatch.setattr(ownership, "ResourceHook", lambda *_: "look")
    ownership.Ownership(cast(Any, None), cast(Any, "4f"), adopt=adopt)
    props = {"metadata": {"name": "mine", "annotations": {"own": "kept"}}}
    options = pulumi.ResourceOptions()
    result = transforms[0](pulumi.ResourceTransformArgs(True, "kubernetes:core/v1:ConfigMap", "x", props, options))
    assert result.props["metadata"]["annotations"] == {"own": "kept", URN: OURS, STATE: "4f"}
    assert result.opts.hooks.before_create == (None if adopt else ["look"])
    assert (
        transforms[0](pulumi.ResourceTransformArgs(True, "kubernetes:kustomize/v2:Directory", "x", {}, options)) is None
    )


@pytest.mark.parametrize("theirs", [{}, {"other": "x"}, None])
def test_somebody_elses_object_is_refused_with_the_way_to_take_it_over(theirs: dict[str, str] | None) -> None:
    text = refusal(MANIFEST, found(theirs))
    assert text is not None
    assert text.startswith("ConfigMap team/mine is on the cluster already, and no stack")
    assert "adopt=true" in text


def test_an_object_under_another_urn_of_this_stack_is_refused_naming_it() -> None:
    other = OURS.replace("::team/mine", "::team/before")
    text = refusal(MANIFEST, found({URN: other, STATE: "4f"}))
    assert text is not None
    assert f"as {other} of this stack. Name that in `aliases`" in text


@pytest.mark.parametrize("state", [{STATE: "another"}, {}])
def test_the_same_urn_in_another_state_is_another_stacks(state: dict[str, str]) -> None:
    """Two people, each with a stack `dev` on a backend of their own, and one cluster."""
    text = refusal(MANIFEST, found({URN: OURS, **state}))
    assert text is not None
    assert f"as {OURS} of another stack, or of a stack of the same name on another backend" in text
    assert "aliases" not in text


def test_a_state_gets_an_id_once_and_keeps_it() -> None:
    provider, news = _StateProvider(), {"uid": "u", "context": "c"}
    first, second = (provider.check({}, news).inputs["state_id"] for _ in range(2))
    assert first != second
    assert provider.check(ID, news).inputs["state_id"] == "4f"
    assert not provider.diff("u", ID, ID).changes
    assert provider.diff("u", ID, {**ID, "context": "renamed"}).changes


def test_a_state_from_before_there_were_ids_gets_one_with_the_next_up() -> None:
    provider, old = _StateProvider(), {"uid": "u", "context": "c"}
    assert provider.diff("u", old, provider.check(old, old).inputs).changes


def test_another_cluster_is_still_refused() -> None:
    (failure,) = _StateProvider().check(ID, {**ID, "uid": "v"}).failures
    assert "leads to another cluster" in failure.reason
