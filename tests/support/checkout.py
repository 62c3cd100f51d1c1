"""A copy of this working tree as a separate repository, so that a test can change its files and history."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.support.stack import ROOT, SHARED


def checkout(folder: Path) -> Path:
    """The tracked and new files of this working tree at `folder`, with one commit; caches and packages are shared."""
    listed = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    # `../shared/kuberay` is laid out as the cache is: a checkout takes its manifests from either, without a network.
    cache = next((place for place in (SHARED, ROOT / ".cache" / "kuberay") if place.is_dir()), None)
    if cache is not None:
        (folder / ".cache").mkdir(exist_ok=True)
        (folder / ".cache" / "kuberay").symlink_to(cache.resolve())
    (folder / ".venv").symlink_to(sys.prefix)
    git(folder, "init", "--quiet", "--initial-branch=main")
    commit(folder, "base")
    return folder


def git(repository: Path, *arguments: str) -> str:
    names = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    done = subprocess.run(["git", *names, *arguments], cwd=repository, capture_output=True, text=True, check=True)
    return done.stdout


def commit(repository: Path, message: str) -> None:
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", message)


def edit(repository: Path, stack: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Edits a stack file; `change` gets its `config`, keys with the project's name."""
    file = repository / f"Pulumi.{stack}.yaml"
    content = yaml.safe_load(file.read_text())
    change(content["config"])
    file.write_text(yaml.safe_dump(content))


def ops(
    repository: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs `python -m ops` without this machine's settings for Kubernetes and Pulumi, with those in `environment`."""
    own = {key: value for key, value in os.environ.items() if not key.startswith(("PULUMI_", "KUBE", "GITHUB_"))}
    return subprocess.run(
        [sys.executable, "-m", "ops", *arguments],
        cwd=repository,
        env={**own, "HOME": str(repository.parent), "PYTHONPATH": "", **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
