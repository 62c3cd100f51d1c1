"""Decides by two annotations which stack owns an object on the cluster, and whether a stack may take it over; pure.

An `up` that is interrupted may create an object that its state does not know. The annotations let the next `up`
continue with that object. Every other object that exists already is refused, unless `adopt` is set. That holds for an
object of this stack under another URN too: Pulumi would delete it after it has "created" the new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

URN_ANNOTATION = "ray-on-kubernetes/urn"
"""URN of the resource. Every Kubernetes object of a stack has it, except the CRDs."""
STATE_ANNOTATION = "ray-on-kubernetes/state"
"""Id of the stack's state. Two stacks of one name on two backends have the same URNs."""


def refusal(manifest: Mapping[str, Any], live: Mapping[str, Any] | None) -> str | None:
    """Returns why the stack must not take over an object that exists; None: it may.

    Args:
        manifest: the object that the stack wants to create, with both annotations.
        live: the object of that kind and name on the cluster; None where it does not exist.
    """
    if live is None:
        return None
    own = manifest["metadata"]["annotations"]
    annotations = live["metadata"].get("annotations") or {}
    if all(annotations.get(key) == own[key] for key in (URN_ANNOTATION, STATE_ANNOTATION)):
        return None
    metadata = manifest["metadata"]
    namespace = f"{metadata['namespace']}/" if metadata.get("namespace") else ""
    subject = f"{manifest['kind']} {namespace}{metadata['name']} is on the cluster already"
    # `pulumi up --config` writes the value into the stack file.
    adopt = "`pulumi up --config ray-on-kubernetes:adopt=true`, then `pulumi config rm adopt`"
    if URN_ANNOTATION not in annotations:
        return (
            f"{subject}, and no stack of this program made it. To take it over: {adopt}. Otherwise choose another "
            "name, or delete the object."
        )
    owner = annotations[URN_ANNOTATION]
    if annotations.get(STATE_ANNOTATION) == own[STATE_ANNOTATION]:
        return f"{subject}, as {owner} of this stack. Add that URN to `aliases`, or choose another name."
    return (
        f"{subject}, as {owner} of another stack, or of a stack of the same name on another backend. Remove it from "
        f"that stack, or choose another name here. If the state of that stack is lost for good: {adopt}"
    )


def refusal_in_state(manifest: Mapping[str, Any], live: Mapping[str, Any] | None, state_id: str) -> str | None:
    """Returns why a stack must not take over an object, where only the id of the stack's state is known.

    An object that carries this id is the stack's own, whatever its URN.

    Args:
        manifest: the object that the stack wants to create, without the annotations.
        live: the object of that kind and name on the cluster; None where it does not exist.
        state_id: id of the stack's state.
    """
    urn = ((live or {"metadata": {}})["metadata"].get("annotations") or {}).get(URN_ANNOTATION, "")
    marks = {URN_ANNOTATION: urn, STATE_ANNOTATION: state_id}
    return refusal({**manifest, "metadata": {**manifest["metadata"], "annotations": marks}}, live)
