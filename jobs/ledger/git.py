"""The commit of a working directory."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

GIT_SECONDS = 5.0


@dataclass(frozen=True)
class Commit:
    """`sha` is the full id; `dirty`: files differ from it, or are not tracked."""

    sha: str
    dirty: bool


def commit_of(directory: Path) -> Commit | None:
    """The commit that is checked out; None without git, outside a repository, or if git does not answer in 5 s."""
    command = ["git", "-C", str(directory), "status", "--porcelain=v2", "--branch", "--untracked-files=normal"]
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.decode(errors="replace").splitlines()
    sha = next((line.split()[-1] for line in lines if line.startswith("# branch.oid ")), "(initial)")
    if done.returncode != 0 or sha == "(initial)":
        return None
    return Commit(sha, any(not line.startswith("#") for line in lines))
