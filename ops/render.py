"""A stack's manifests as files, without a cluster, a secret or the stack's backend; and what a change does to them."""

from __future__ import annotations

import difflib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import yaml

from components.cluster.crds import digest
from ops import engine
from ops.changes import CHANGES, DESTRUCTIVE, ERROR, NO_CHANGES

PLACEHOLDER = "placeholder-for-a-secret"
# Pure Python takes half a minute for KubeRay's CRDs.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class CannotRender(click.ClickException):
    """There is nothing to render, or to compare with; the message says what is missing."""


def without_secrets(stack_file: Mapping[str, Any]) -> dict[str, Any]:
    """A stack file whose encrypted values are placeholders and which needs no key: only `config:` is kept."""

    def masked(value: Any) -> Any:
        if isinstance(value, Mapping):
            return PLACEHOLDER if set(value) == {"secure"} else {key: masked(entry) for key, entry in value.items()}
        return [masked(entry) for entry in value] if isinstance(value, list) else value

    return {"config": masked(stack_file.get("config") or {})}


def render(stack: str, to: Path, *, root: Path = engine.ROOT) -> None:
    """Writes the manifests of `stack` below `to`, which is emptied first.

    A throw-away file backend; no kubeconfig is read. Raises CannotRender where there is no such stack, EngineFailed
    with what the engine said.
    """
    stack_file = root / f"Pulumi.{stack}.yaml"
    if not stack_file.is_file():
        there = ", ".join(sorted(file.name.split(".")[1] for file in root.glob("Pulumi.*.yaml")))
        raise CannotRender(f"no stack file {stack_file.name}; stacks with one: {there or 'none'}")
    settings = without_secrets(yaml.safe_load(stack_file.read_text()))
    settings["config"][f"{engine.PROJECT}:renderTo"] = str(to)
    for key in ("kubeContext", "kubeconfig"):
        settings["config"].pop(f"{engine.PROJECT}:{key}", None)
    shutil.rmtree(to, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="render-") as scratch:
        config_file = Path(scratch) / stack_file.name
        config_file.write_text(yaml.safe_dump(settings))
        backend = Path(scratch) / "state"
        backend.mkdir()
        environment = {
            "PULUMI_BACKEND_URL": f"file://{backend}",
            "PULUMI_CONFIG_PASSPHRASE": "throw-away",
            "KUBECONFIG": os.devnull,
        }
        config = ["--config-file", str(config_file)]
        engine.init_stack(stack, environment)
        engine.run_quietly(
            ["up", "--yes", "--skip-preview", "--stack", stack, *config], cwd=root, environment=environment
        )


def readable(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest as a reviewer sees it: a CRD's schema as a digest, a Secret's values as their names."""
    kind = manifest.get("kind")
    if kind == "CustomResourceDefinition":
        versions = [version["name"] for version in manifest["spec"]["versions"]]
        content = {"group": manifest["spec"]["group"], "versions": versions, "digest": digest(manifest["spec"])}
        return {**manifest, "spec": content}
    if kind == "Secret":
        hidden = {key: dict.fromkeys(manifest[key], "(hidden)") for key in ("data", "stringData") if key in manifest}
        return {**manifest, **hidden}
    return dict(manifest)


def read(folder: Path) -> dict[str, list[str]]:
    """Rendered manifests as `kind namespace/name` -> lines of YAML."""
    manifests = {}
    for file in sorted(folder.rglob("*.yaml")):
        for document in yaml.load_all(file.read_text(), Loader=LOADER):
            if not document:
                continue
            metadata = document["metadata"]
            name = f"{document['kind']} {metadata.get('namespace', '')}/{metadata['name']}"
            text = yaml.safe_dump(readable(document), sort_keys=True)
            manifests[name] = text.splitlines()
    return manifests


def compare(old: Mapping[str, list[str]], new: Mapping[str, list[str]]) -> tuple[int, str]:
    """Exit code (0 same, 2 changed, 3 something goes away) and a unified diff, object by object."""
    lines: list[str] = []
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            state = "added" if name not in old else "removed" if name not in new else "changed"
            lines.append(f"### {state}: {name}")
            lines += list(difflib.unified_diff(old.get(name, []), new.get(name, []), "base", "here", lineterm=""))[2:]
            lines.append("")
    if not lines:
        return NO_CHANGES, "no changes"
    return (DESTRUCTIVE if set(old) - set(new) else CHANGES), "\n".join(lines)


def diff(stack: str, base: str) -> tuple[int, str]:
    """What the working tree does to `stack`'s manifests compared with the git revision `base`.

    Each side is rendered by its own code. A stack that `base` does not have yet is all new. Raises CannotRender where
    `base` is no revision, or its code does not render; EngineFailed where the working tree's does not.
    """
    with tempfile.TemporaryDirectory(prefix="diff-") as scratch:
        here, there, tree = Path(scratch) / "here", Path(scratch) / "there", Path(scratch) / "base"
        _take_out(base, tree)
        render(stack, here)
        cache = engine.ROOT / ".cache" / "kuberay"
        if cache.is_dir():
            (tree / ".cache").mkdir(exist_ok=True)
            (tree / ".cache" / "kuberay").symlink_to(cache)
        (tree / ".venv").symlink_to(sys.prefix)
        if (tree / f"Pulumi.{stack}.yaml").is_file():
            try:
                render(stack, there, root=tree)
            except engine.EngineFailed as error:
                raise CannotRender(f"the code of {base} does not render stack {stack}: {error}") from error
        return compare(read(there), read(here))


HEADLINES = {
    NO_CHANGES: "no changes",
    CHANGES: "changes",
    DESTRUCTIVE: "**objects go away**",
    ERROR: "**does not render**",
}
# GitHub refuses a comment of more than 65,536 characters.
COMMENT_CHARACTERS = 60_000


def as_comment(stack: str, code: int, text: str) -> str:
    """A pull request's comment on one stack: the outcome first, the diff folded, cut where it would be refused."""
    shown = text[:COMMENT_CHARACTERS]
    cut = (
        "" if shown == text else f"\n... {len(text) - len(shown)} more characters: `make diff STACK={stack}` shows all"
    )
    title = f"### Stack `{stack}`: {HEADLINES[code]}\n"
    if code == NO_CHANGES:
        return title
    what = "error" if code == ERROR else "manifests"
    # Longer than any that the manifests hold: a pull request must not be able to end it.
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", shown)), default=0))
    return f"{title}\n<details><summary>{what}</summary>\n\n{fence}diff\n{shown}{cut}\n{fence}\n</details>\n"


def _take_out(revision: str, folder: Path) -> None:
    """The files of a git revision in `folder`; nothing of the repository is written, its list of worktrees neither."""
    command = ["git", "archive", "--format=tar", revision]
    done = subprocess.run(command, cwd=engine.ROOT, check=False, capture_output=True)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise CannotRender(f"base {revision}: {said}. Is it a revision of this repository, and was it fetched?")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        # Not as an argument: Python before 3.10.12 and 3.11.4, such as Debian's, has no filters.
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(folder)
