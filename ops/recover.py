"""`make recover`: repair a stack's state after an `up` that was killed."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from components.cluster.paths import object_path
from ops import engine, stack_objects
from ops.options import stack_option


@click.command("recover")
@stack_option
def recover_command(stack: str) -> None:
    """Release the lock of a killed `up` and complete the state, so that `up` can run again.

    Make sure first that no other `up` of this stack runs: its lock is released too.
    """
    sys.exit(recover(stack))


def recover(stack: str, *, environment: Mapping[str, str] | None = None, config_file: Path | None = None) -> int:
    """Releases the stack's lock and completes its state.

    An object whose creation had begun is imported into the state if it is on the cluster; the next `up` then neither
    creates it again nor fails on it. A creation that the cluster never received is dropped.

    Args:
        stack: Name of the stack.
        environment: Variables for the Pulumi CLI, on top of this process' own.
        config_file: The stack file; the repository's by default.

    Returns:
        Pulumi's exit code.

    Raises:
        Refused: The context leads to another cluster.
        EngineFailed: Pulumi cannot read the state.
        ClusterError: The cluster does not answer.
    """
    engine.run(["cancel", "--yes", stack], stack=None, environment=environment)
    deployment = engine.deployment(stack, environment=environment)
    pending = deployment.get("pending_operations") or []
    arguments = ["refresh", "--yes", "--skip-preview", *(["--config-file", str(config_file)] if config_file else [])]
    if pending:
        creations = pending_creations(pending)
        # Before the first object the state may name no cluster yet.
        api = stack_objects.connect(deployment.get("resources") or [], environment) if creations else None
        for urn, identifier, path in creations:
            if api and api.get(path):
                name = urn.rpartition("::")[2]
                click.echo(f"on the cluster, added to the state: {name} ({identifier})", err=True)
                arguments += ["--import-pending-creates", urn, "--import-pending-creates", identifier]
        arguments.append("--clear-pending-creates")
    return engine.run(arguments, stack=stack, environment=environment)


def pending_creations(pending: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """URN, id and API path of every Kubernetes object whose creation had begun.

    A Kubernetes resource's id is `namespace/name`, or `name` for an object without a namespace.
    """
    creations = []
    for operation in pending:
        resource = operation["resource"]
        inputs = resource.get("inputs") or {}
        metadata = inputs.get("metadata") or {}
        creating = operation["type"] == "creating" and resource["type"].startswith(stack_objects.KUBERNETES_PREFIX)
        if creating and "name" in metadata:
            namespace, name = metadata.get("namespace", ""), metadata["name"]
            path = object_path(inputs["apiVersion"], inputs["kind"], namespace, name)
            creations.append((resource["urn"], f"{namespace}/{name}" if namespace else name, path))
    return creations
