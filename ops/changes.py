"""What a run of the engine does or would do, read from its event log, as an exit code that CI can branch on."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops import engine

NO_CHANGES, ERROR, CHANGES, DESTRUCTIVE = 0, 1, 2, 3

# Operations that take something away. `replace` is here too: every object of ours has a fixed name, so a replacement
# deletes the old one first.
REMOVING = {"delete", "replace", "create-replacement", "delete-replaced", "discard-replaced"}
QUIET = {"same", "read", "read-replacement", "refresh"}


@dataclass(frozen=True)
class Change:
    """`operation`: the engine's own word; `fields`: paths that differ, where the engine names them."""

    operation: str
    type: str
    name: str
    fields: tuple[str, ...] = ()

    def __str__(self) -> str:
        fields = f" [{', '.join(self.fields)}]" if self.fields else ""
        return f"{self.operation:8} {self.type} {self.name}{fields}"


def read(events: Iterable[Mapping[str, Any]]) -> list[Change]:
    """The resource operations among the engine's events, unchanged resources left out."""
    changes = []
    for event in events:
        metadata = event.get("resourcePreEvent", {}).get("metadata")
        # A provider's own settings are no object; the dynamic one's hold the whole stack file, so any edit changes it.
        if not metadata or metadata["op"] in QUIET or metadata["type"].startswith("pulumi:providers:"):
            continue
        fields = tuple(sorted(metadata.get("detailedDiff") or {})) or tuple(metadata.get("diffs") or ())
        changes.append(Change(metadata["op"], metadata["type"], metadata["urn"].rpartition("::")[2], fields))
    return changes


def exit_code(changes: Sequence[Change]) -> int:
    if any(change.operation in REMOVING for change in changes):
        return DESTRUCTIVE
    return CHANGES if changes else NO_CHANGES


def summary(changes: Sequence[Change]) -> str:
    if not changes:
        return "no changes"
    return "\n".join([f"{len(changes)} changes:", *(f"  {change}" for change in changes)])


def observe(
    arguments: Sequence[str], *, stack: str, cwd: Path = engine.ROOT, environment: Mapping[str, str] | None = None
) -> tuple[int, list[Change]]:
    """Runs the CLI with its output shown; returns its exit code and what it did or would do."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "events.json"
        settings = {"PULUMI_DEBUG_COMMANDS": "true", **(environment or {})}
        code = engine.run([*arguments, "--event-log", str(log)], stack=stack, cwd=cwd, environment=settings)
        lines = log.read_text().splitlines() if log.is_file() else []
    return code, read(json.loads(line) for line in lines)
