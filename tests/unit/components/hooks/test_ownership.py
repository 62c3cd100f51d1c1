"""How every object of the stack is marked."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pulumi
import pytest

from components.cluster.ownership import STATE_ANNOTATION, URN_ANNOTATION
from components.errors import Forbidden, StackError
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
    ownership.Ownership(cast(Any, None), cast(Any, "4f"), [], adopt=adopt)
    props = {"metadata": {"name": "mine", "annotations": {"own": "kept"}}}
    options = pulumi.ResourceOptions()
    result = transforms[0](pulumi.ResourceTransformArgs(True, "kubernetes:core/v1:ConfigMap", "x", props, options))
    assert result.props["metadata"]["annotations"] == {"own": "kept", URN_ANNOTATION: OURS, STATE_ANNOTATION: "4f"}
    assert result.opts.hooks.before_create == (None if adopt else ["look"])
    assert (
        transforms[0](pulumi.ResourceTransformArgs(True, "kubernetes:kustomize/v2:Directory", "x", {}, options)) is None
    )


def test_the_first_refusal_names_every_main_object_that_is_not_the_stacks_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine stops at the first refusal; a person wants to see all of them at once."""
    monkeypatch.setattr(pulumi.runtime, "register_resource_transform", lambda _: None)
    monkeypatch.setattr(ownership, "ResourceHook", lambda *_: "look")
    names = ("theirs", "also-theirs", "free", "secret", "ours")
    manifests = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in names]
    live: dict[str, Any] = {name: {"metadata": {"name": name}} for name in ("theirs", "also-theirs")}
    live["ours"] = {"metadata": {"annotations": {URN_ANNOTATION: OURS, STATE_ANNOTATION: "4f"}}}

    class Cluster:
        def get(self, path: str) -> Any:
            if path.endswith("/secret"):
                raise Forbidden("not allowed")
            return live.get(path.rpartition("/")[2])

    check = ownership.Ownership(cast(Any, Cluster()), cast(Any, "4f"), manifests, adopt=False)
    marks = {URN_ANNOTATION: OURS, STATE_ANNOTATION: "4f"}
    declared = {**manifests[0], "metadata": {"name": "theirs", "annotations": marks}}
    with pytest.raises(StackError) as refused:
        check._before_create(cast(Any, SimpleNamespace(new_inputs=declared)))
    lines = str(refused.value).splitlines()
    assert [line.split()[2] for line in lines[1:]] == ["theirs", "also-theirs"]
    live.pop("also-theirs")
    with pytest.raises(StackError, match=r"^Namespace theirs is on the cluster already"):
        check._before_create(cast(Any, SimpleNamespace(new_inputs=declared)))
