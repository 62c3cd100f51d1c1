"""The Pulumi project around the working directory, and the outputs of its stacks."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from ..activity import activity
from ..deadline import Deadline
from ..errors import DeadlinePassed, LocalFault, Refused, did_you_mean
from ..private_file import other_owner, read_regular

PROJECT = "ray-on-kubernetes"
PULUMI_SECONDS = 60.0
_PROJECT_FILE_LIMIT = 1024**2


def find_project(directory: Path) -> Path | None:
    """The directory with the project's Pulumi.yaml: this one, or the nearest above it.

    Raises:
        Refused: It belongs to another user. The Pulumi CLI would work with that user's files.
    """
    for candidate in (directory, *directory.parents):
        file = candidate / "Pulumi.yaml"
        try:
            content = read_regular(file, _PROJECT_FILE_LIMIT)
            if content is None:
                continue
            text = content.decode()
        except (OSError, UnicodeDecodeError):
            continue
        if f"\nname: {PROJECT}\n" not in f"\n{text}\n":
            return None
        problem = other_owner(candidate) or other_owner(file)
        if problem:
            raise Refused(
                f"The Pulumi project in {candidate} is not used: {problem}, and commands would run with that user's "
                "files.",
                "Use your own copy of the project, change the owner (chown), or name an outputs file with --outputs.",
            )
        return candidate
    return None


def stack_files(project: Path) -> list[str]:
    """Returns the stacks that have a file in the project, by name."""
    return [file.name.removeprefix("Pulumi.").removesuffix(".yaml") for file in sorted(project.glob("Pulumi.*.yaml"))]


def find_pulumi(project: Path, environ: Mapping[str, str] = os.environ) -> str | None:
    """The Pulumi CLI: on PATH, or where `make demo` installs it in the project. Raises Refused as `find_project`."""
    on_path = shutil.which("pulumi", path=environ.get("PATH"))
    in_project = project / ".pulumi" / "bin" / "pulumi"
    if on_path or not os.access(in_project, os.X_OK):
        return on_path
    for path in (in_project, *in_project.parents[:2]):
        if problem := other_owner(path):
            raise Refused(f"{in_project} is not run: {problem}.", "Install the Pulumi CLI on PATH, or remove the file.")
    return str(in_project)


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
        with activity(f"Waiting for {shown}", Deadline(PULUMI_SECONDS)):
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
            f"{did_you_mean(stack, stack_files(project)) if stack not in stack_files(project) and stack else ''}"
            "Was the stack brought up? `pulumi stack ls` lists the stacks; --stack NAME selects one.",
        )
    return done.stdout.decode(errors="replace")
