"""Names of stacks and clusters in files of this machine, for completion and suggestions. No program is called."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ..errors import JobsError
from . import contract as contracts
from .contract import Contract
from .pulumi_project import find_project, stack_files
from .resolve import default_outputs


def known_contract(outputs: str | None = None, environ: Mapping[str, str] = os.environ) -> Contract | None:
    """Reads the outputs file: this one, that of RAYJOBS_OUTPUTS, or the default one. None if it cannot be used."""
    path = Path(outputs or environ.get("RAYJOBS_OUTPUTS") or default_outputs(environ)).expanduser()
    try:
        return contracts.parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError, JobsError):
        return None


def stack_names(directory: Path) -> list[str]:
    """Returns the stacks that have a file in the Pulumi project around a directory, by name."""
    try:
        project = find_project(directory)
        return stack_files(project) if project else []
    except (OSError, JobsError):
        return []
