"""What may be taken over of the objects that are on the cluster already."""

from __future__ import annotations

from typing import Any

from components.ownership import MARK, refusal

URN = "urn:pulumi:dev::ray-on-kubernetes::kubernetes:core/v1:ConfigMap::team/mine"
MANIFEST = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine", "namespace": "team"}}


def found(**annotations: str) -> dict[str, Any]:
    return {"metadata": {"name": "mine", "annotations": annotations}}


def test_what_is_not_there_may_be_made() -> None:
    assert refusal(MANIFEST, None, URN) is None


def test_what_an_earlier_run_made_of_this_very_resource_is_taken_up_again() -> None:
    assert refusal(MANIFEST, found(**{MARK: URN}), URN) is None


def test_somebody_elses_object_is_refused_with_the_way_to_take_it_over() -> None:
    for theirs in (found(), found(other="x"), {"metadata": {"name": "mine", "annotations": None}}):
        text = refusal(MANIFEST, theirs, URN)
        assert text is not None
        assert text.startswith("ConfigMap team/mine is on the cluster already, and no stack")
        assert "adopt=true" in text


def test_an_object_under_another_urn_is_refused_naming_it() -> None:
    other = URN.replace("::team/mine", "::team/before")
    text = refusal(MANIFEST, found(**{MARK: other}), URN)
    assert text is not None
    assert other in text
    assert "`aliases`" in text
