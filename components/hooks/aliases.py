"""Resources that had another URN before: renamed, moved into a component, or from a program of one's own.

Pulumi's aliases, from the stack file: they belong to one environment's history, not to the program.
"""

from __future__ import annotations

from collections.abc import Mapping

import pulumi

from components.errors import StackError


class Aliases:
    """`former`: the end of a URN of this program, `type::name`, to the URN that the state has for it."""

    def __init__(self, former: Mapping[str, str]) -> None:
        self.former = former
        self.seen: dict[str, None] = {}
        if former:
            # A transform, not an option of each resource: it reaches what kustomize makes, too.
            pulumi.runtime.register_resource_transform(self._transform)

    def _transform(self, args: pulumi.ResourceTransformArgs) -> pulumi.ResourceTransformResult | None:
        key = f"{args.type_}::{args.name}"
        self.seen[key] = None
        if key not in self.former:
            return None
        named = pulumi.ResourceOptions(aliases=[self.former[key]])
        return pulumi.ResourceTransformResult(args.props, pulumi.ResourceOptions.merge(args.opts, named))

    def expect_used(self, last: pulumi.Resource) -> None:
        """Once `last` is registered, which waits for all others, raises StackError for an alias of nothing."""
        if self.former:
            last.urn.apply(self._check)

    def _check(self, _urn: str) -> None:
        unused = [key for key in self.former if key not in self.seen]
        if unused:
            raise StackError("\n  - ".join([f"aliases: the program has no {', '.join(unused)}; allowed:", *self.seen]))
