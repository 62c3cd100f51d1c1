"""After an `up` that was killed: the lock it left, and the operations it had begun."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from components.resources.kubernetes_object import object_path
from ops import engine, inventory
from ops.destroy import connect


def under_way(pending: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """URN, id and path at the API server of every Kubernetes object whose creation was under way.

    A Kubernetes resource's id is `namespace/name`, or `name` where it has no namespace.
    """
    found = []
    for operation in pending:
        resource = operation["resource"]
        inputs = resource.get("inputs") or {}
        metadata = inputs.get("metadata") or {}
        creating = operation["type"] == "creating" and resource["type"].startswith(inventory.KUBERNETES)
        if creating and "name" in metadata:
            namespace, name = metadata.get("namespace", ""), metadata["name"]
            where = object_path(inputs["apiVersion"], inputs["kind"], namespace, name)
            found.append((resource["urn"], f"{namespace}/{name}" if namespace else name, where))
    return found


def recover(stack: str, *, environment: Mapping[str, str] | None = None, config_file: Path | None = None) -> int:
    """Releases the stack's lock and settles what was under way; the engine's exit code.

    An object that was being created and is on the cluster is taken into the state, so that the next `up` neither makes
    it twice nor trips over it; a creation that never arrived is forgotten. Nobody else may be running an `up` of this
    stack: its lock is released. Raises Refused where the context leads to another cluster, EngineFailed, ClusterError.
    """
    engine.run(["cancel", "--yes", stack], stack=None, environment=environment)
    state = engine.deployment(stack, environment=environment)
    pending = state.get("pending_operations") or []
    arguments = ["refresh", "--yes", "--skip-preview", *(["--config-file", str(config_file)] if config_file else [])]
    if pending:
        objects = under_way(pending)
        # Before the first object there may be no cluster in the state yet.
        api = connect(state.get("resources") or [], environment) if objects else None
        for urn, identifier, where in objects:
            if api and api.get(where):
                print(f"was created all the same: {urn.rpartition('::')[2]} ({identifier})", file=sys.stderr)
                arguments += ["--import-pending-creates", urn, "--import-pending-creates", identifier]
        arguments.append("--clear-pending-creates")
    return engine.run(arguments, stack=stack, environment=environment)
