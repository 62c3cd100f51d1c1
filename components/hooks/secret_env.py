"""Environment values of Ray pods as secrets: encrypted in the state, never shown in a diff.

The engine says of a whole key of the stack file that something in it is secure, not where in it. `env` is where a
secret sensibly is, so all values there are kept once any value of the key is secure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi


def keep() -> None:
    """Of every RayCluster that the program declares from now on; to be called after any other transform is registered.

    A transform, because Python hands a later one of them the whole spec as a secret, which no reviewer could read.
    """
    pulumi.runtime.register_resource_transform(_transform)


def _transform(args: pulumi.ResourceTransformArgs) -> pulumi.ResourceTransformResult | None:
    if not args.type_.endswith(":RayCluster") or not args.type_.startswith("kubernetes:"):
        return None
    return pulumi.ResourceTransformResult(with_secret_env(args.props), args.opts)


def with_secret_env(manifest: Any) -> Any:
    """`manifest` as inputs whose environment values are secrets."""
    if isinstance(manifest, Mapping):
        return {
            key: [_with_secret_value(entry) for entry in value]
            if key == "env" and isinstance(value, list)
            else with_secret_env(value)
            for key, value in manifest.items()
        }
    return [with_secret_env(entry) for entry in manifest] if isinstance(manifest, list) else manifest


def _with_secret_value(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: pulumi.Output.secret(value) if key == "value" else value for key, value in entry.items()}
