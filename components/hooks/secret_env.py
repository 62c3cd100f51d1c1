"""Environment values of Ray pods as secrets: encrypted in the state, and not shown in a diff.

The engine knows only that a key of the stack file holds a secure value, not where in it. A secret belongs into `env`,
so all values there become secrets once any value of `clusters` is secure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi


def encrypt() -> None:
    """Encrypts the environment values of every RayCluster that is declared from now on.

    Call it after all other transforms are registered: Python hands a later transform the whole spec as one secret, and
    no reviewer could read the diff.
    """
    pulumi.runtime.register_resource_transform(_transform)


def _transform(args: pulumi.ResourceTransformArgs) -> pulumi.ResourceTransformResult | None:
    if not args.type_.endswith(":RayCluster") or not args.type_.startswith("kubernetes:"):
        return None
    return pulumi.ResourceTransformResult(with_secret_env(args.props), args.opts)


def with_secret_env(manifest: Any) -> Any:
    """Returns `manifest` with every value of an environment variable as a secret."""
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
