"""Environment values as secrets. That none is in a state or a diff is held by tests/e2e/test_review.py."""

from __future__ import annotations

import asyncio
from typing import Any

import pulumi

from components.hooks.secret_env import with_secret_env
from components.manifests.raycluster import manifest
from components.settings import parse

ENV = {"TOKEN": "word"}


def found(value: Any, path: str = "") -> list[str]:
    """Where in `value` an output is."""
    if isinstance(value, pulumi.Output):
        return [path]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [where for key, item in items for where in found(item, f"{path}.{key}")]


def test_the_values_of_all_environment_variables_are_secrets_and_nothing_else_is() -> None:
    sidecar = {"name": "sidecar", "image": "s:1", "env": [{"name": "TOKEN", "value": "word"}]}
    (cluster,) = parse(
        {
            "clusters": [
                {
                    "head": {"env": {"NAMED": {"secret": "s", "key": "k"}, **ENV}},
                    "autoscaling": {"env": ENV},
                    "workerGroups": {"a": {"env": ENV, "podTemplate": {"spec": {"containers": [sidecar]}}}},
                }
            ]
        }
    ).clusters

    async def marked() -> list[str]:
        return found(with_secret_env(manifest(cluster, "v1.7.0")))

    assert asyncio.run(marked()) == [
        ".spec.autoscalerOptions.env.0.value",  # set by this project
        ".spec.autoscalerOptions.env.1.value",
        ".spec.headGroupSpec.template.spec.containers.0.env.1.value",
        ".spec.workerGroupSpecs.0.template.spec.containers.0.env.0.value",
        ".spec.workerGroupSpecs.0.template.spec.containers.1.env.0.value",
    ]
