"""Resources that had another URN before: renamed, moved into a component, or declared by another program.

These are Pulumi's aliases. They come from the stack file: they belong to the history of one stack, not to the program.
"""

from __future__ import annotations

from collections.abc import Mapping

import pulumi


class Aliases:
    """Gives resources their old URNs.

    Args:
        old_urns: the end of a URN of this program, `type::name`, to the URN that the state has.
    """

    def __init__(self, old_urns: Mapping[str, str]) -> None:
        self.old_urns = old_urns
        self.declared: dict[str, None] = {}
        if old_urns:
            # A transform, not an option of each resource, so that it also reaches the resources that kustomize makes.
            pulumi.runtime.register_resource_transform(self._transform)

    def _transform(self, args: pulumi.ResourceTransformArgs) -> pulumi.ResourceTransformResult | None:
        key = f"{args.type_}::{args.name}"
        self.declared[key] = None
        if key not in self.old_urns:
            return None
        alias = pulumi.ResourceOptions(aliases=[self.old_urns[key]])
        return pulumi.ResourceTransformResult(args.props, pulumi.ResourceOptions.merge(args.opts, alias))

    def refuse_unused(self, last: pulumi.Resource) -> None:
        """Stops the program for an alias that matches no resource. `last` is a resource that depends on all others."""
        if self.old_urns:
            last.urn.apply(self._refuse_unused)

    def _refuse_unused(self, _urn: str) -> None:
        unused = [key for key in self.old_urns if key not in self.declared]
        if unused:
            raise pulumi.RunError(
                "\n  - ".join([f"aliases: the program has no {', '.join(unused)}; allowed:", *self.declared])
            )
