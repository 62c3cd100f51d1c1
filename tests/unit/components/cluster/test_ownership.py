"""What may be taken over of the objects that are on the cluster already."""

from __future__ import annotations

from typing import Any

import pytest

from components.cluster.ownership import STATE_ANNOTATION, URN_ANNOTATION, refusal

OURS = "urn:pulumi:dev::ray-on-kubernetes::kubernetes:core/v1:ConfigMap::team/mine"
META = {"name": "mine", "namespace": "team", "annotations": {URN_ANNOTATION: OURS, STATE_ANNOTATION: "4f"}}
MANIFEST = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": META}


def found(annotations: dict[str, str] | None) -> dict[str, Any]:
    return {"metadata": {"name": "mine", "annotations": annotations}}


def test_what_is_not_there_may_be_made() -> None:
    assert refusal(MANIFEST, None) is None


def test_what_an_earlier_run_made_of_this_very_resource_is_taken_up_again() -> None:
    assert refusal(MANIFEST, found({URN_ANNOTATION: OURS, STATE_ANNOTATION: "4f", "other": "x"})) is None


@pytest.mark.parametrize("theirs", [{}, {"other": "x"}, None])
def test_somebody_elses_object_is_refused_with_the_way_to_take_it_over(theirs: dict[str, str] | None) -> None:
    text = refusal(MANIFEST, found(theirs))
    assert text is not None
    assert text.startswith("ConfigMap team/mine is on the cluster already, and no stack")
    assert "adopt=true" in text


def test_an_object_under_another_urn_of_this_stack_is_refused_naming_it() -> None:
    other = OURS.replace("::team/mine", "::team/before")
    text = refusal(MANIFEST, found({URN_ANNOTATION: other, STATE_ANNOTATION: "4f"}))
    assert text is not None
    assert f"as {other} of this stack. Add that URN to `aliases`" in text


@pytest.mark.parametrize("state", [{STATE_ANNOTATION: "another"}, {}])
def test_the_same_urn_in_another_state_is_another_stacks(state: dict[str, str]) -> None:
    """Two people, each with a stack `dev` on a backend of their own, and one cluster."""
    text = refusal(MANIFEST, found({URN_ANNOTATION: OURS, **state}))
    assert text is not None
    assert f"as {OURS} of another stack, or of a stack of the same name on another backend" in text
    assert "aliases" not in text
