"""How every object of the stack is marked."""

from __future__ import annotations

from typing import Any, cast

import pulumi
import pytest

from components.cluster.ownership import STATE_ANNOTATION, URN_ANNOTATION
from components.hooks import ownership

OURS = "urn:pulumi:dev::ray-on-kubernetes::kubernetes:core/v1:ConfigMap::team/mine"


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
    assert result.props["metadata"]["annotations"] == {"own": "kept", URN_ANNOTATION: OURS, STATE_ANNOTATION: "4f"}
    assert result.opts.hooks.before_create == (None if adopt else ["look"])
    assert (
        transforms[0](pulumi.ResourceTransformArgs(True, "kubernetes:kustomize/v2:Directory", "x", {}, options)) is None
    )
