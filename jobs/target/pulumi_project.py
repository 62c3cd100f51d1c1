"""The Pulumi project around the working directory, and the outputs of its stacks."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from ..errors import DeadlinePassed, LocalFault, Refused

PROJECT = "ray-on-kubernetes"
PULUMI_SECONDS = 60.0


def find_project(directory: Path) -> Path | None:
    """The directory with the project's Pulumi.yaml: this one, or the nearest above it."""
    for candidate in (directory, *directory.parents):
        try:
            text = (candidate / "Pulumi.yaml").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        return candidate if f"\nname: {PROJECT}\n" in f"\n{text}\n" else None
    return None


def find_pulumi(project: Path, environ: Mapping[str, str] = os.environ) -> str | None:
    """The Pulumi CLI: on PATH, or where `make demo` installs it in the project."""
    in_project = project / ".pulumi" / "bin" / "pulumi"
    on_path = shutil.which("pulumi", path=environ.get("PATH"))
    return on_path or (str(in_project) if os.access(in_project, os.X_OK) else None)


def read_contract_output(pulumi: str, project: Path, stack: str | None, environ: Mapping[str, str]) -> str:
    """The stack's output `contract` as JSON; of the selected stack if none is named. The selection does not change.

    Raises:
        Refused: There is no such stack, or it has no such output.
        DeadlinePassed: After 60 seconds.
        LocalFault: The CLI cannot be run.
    """
    command = [pulumi, "stack", "output", "contract", "--json", "--non-interactive"]
    if stack is not None:
        command += ["--stack", stack]
    shown = f"`pulumi stack output contract{f' --stack {stack}' if stack else ''}` in {project}"
    try:
        done = subprocess.run(
            command,
            cwd=project,
            env={**environ, "PULUMI_SKIP_UPDATE_CHECK": "true"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PULUMI_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DeadlinePassed(f"{shown} did not answer within {PULUMI_SECONDS:.0f} s.") from None
    except OSError as error:
        raise LocalFault(f"{shown} could not be run: {error}") from error
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise Refused(
            f"{shown} failed: {lines[-1] if lines else 'no message'}",
            "Was the stack brought up? `pulumi stack ls` lists the stacks; --stack NAME selects one.",
        )
    return done.stdout.decode(errors="replace")
