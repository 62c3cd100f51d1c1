"""The changes of a Pulumi operation, from the engine's event log, and an exit code for CI."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.errors import number_of
from ops import engine

NO_CHANGES, ERROR, CHANGES, DESTRUCTIVE = 0, 1, 2, 3

# Operations that delete an object. `replace` is one of them: our objects have fixed names, so a replacement deletes the
# old one first.
REMOVING = {"delete", "replace", "create-replacement", "delete-replaced", "discard-replaced"}
QUIET = {"same", "read", "read-replacement", "refresh"}


@dataclass(frozen=True)
class Change:
    """One resource operation.

    Args:
        operation: The engine's name for it, such as `update`.
        type: The resource's type.
        name: The resource's name.
        fields: Paths that differ, if the engine names them.
    """

    operation: str
    type: str
    name: str
    fields: tuple[str, ...] = ()

    def __str__(self) -> str:
        fields = f" [{', '.join(self.fields)}]" if self.fields else ""
        return f"{self.operation:8} {self.type} {self.name}{fields}"


def read(events: Iterable[Mapping[str, Any]]) -> list[Change]:
    """The resource operations among the engine's events, without those that change nothing."""
    changes = []
    for event in events:
        metadata = event.get("resourcePreEvent", {}).get("metadata")
        # A provider is no object on the cluster. The dynamic provider has the whole stack file among its settings, so
        # every edit would count.
        if not metadata or metadata["op"] in QUIET or metadata["type"].startswith("pulumi:providers:"):
            continue
        fields = tuple(sorted(metadata.get("detailedDiff") or {})) or tuple(metadata.get("diffs") or ())
        changes.append(Change(metadata["op"], metadata["type"], metadata["urn"].rpartition("::")[2], fields))
    return changes


def exit_code(changes: Sequence[Change]) -> int:
    """NO_CHANGES, CHANGES, or DESTRUCTIVE if an object is deleted or replaced."""
    if any(change.operation in REMOVING for change in changes):
        return DESTRUCTIVE
    return CHANGES if changes else NO_CHANGES


def summary(changes: Sequence[Change]) -> str:
    """A line for each change."""
    if not changes:
        return "no changes"
    return "\n".join([f"{number_of(len(changes), 'change')}:", *(f"  {change}" for change in changes)])


def observe(
    arguments: Sequence[str], *, stack: str, cwd: Path = engine.ROOT, environment: Mapping[str, str] | None = None
) -> tuple[int, list[Change]]:
    """Runs the CLI, which prints as it works; returns its exit code and the changes it made or planned."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "events.json"
        settings = {"PULUMI_DEBUG_COMMANDS": "true", **(environment or {})}
        code = engine.run([*arguments, "--event-log", str(log)], stack=stack, cwd=cwd, environment=settings)
        lines = log.read_text().splitlines() if log.is_file() else []
    return code, read(json.loads(line) for line in lines)
