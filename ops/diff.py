"""`make diff`: what the working tree changes in a stack's manifests, compared with a git revision."""

from __future__ import annotations

import difflib
import io
import re
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
from components.errors import StackError
from jobs.errors import number_of
from jobs.yaml_file import parse_documents
from ops import engine
from ops.changes import CHANGES, DESTRUCTIVE, ERROR, NO_CHANGES
from ops.errors import CannotRender, EngineFailed, OpsError
from ops.options import detailed_exitcode_option, stack_option
from ops.render import render

HEADLINES = {
    NO_CHANGES: "no changes",
    CHANGES: "changes",
    DESTRUCTIVE: "**objects go away**",
    ERROR: "**does not render**",
}
# GitHub refuses a comment of more than 65,536 characters.
COMMENT_CHARACTERS = 60_000


@click.command("diff")
@stack_option
@click.option("--base", required=True, envvar="BASE", help="Git revision to compare with, such as origin/main.")
@click.option("--comment", type=click.Path(path_type=Path), help="Also write a pull request comment to this file.")
@click.option(
    "--job-summary",
    type=click.Path(path_type=Path),
    envvar="GITHUB_STEP_SUMMARY",
    help="Also append that comment to this file. GitHub sets it to the job summary, which needs no write permission.",
)
@detailed_exitcode_option
def diff_command(
    stack: str, base: str, comment: Path | None, job_summary: Path | None, detailed_exitcode: bool
) -> None:
    """Compare the stack's manifests with those of BASE, without a cluster or a secret."""

    def publish(code: int, text: str) -> None:
        if comment:
            comment.write_text(as_comment(stack, code, text))
        if job_summary:
            with job_summary.open("a") as file:
                file.write(as_comment(stack, code, text))

    try:
        code, text = diff(stack, base)
    except (OpsError, StackError) as error:
        publish(ERROR, str(error))  # otherwise the comment of an earlier push would look like this one's
        raise
    click.echo(text)
    publish(code, text)
    sys.exit(code if detailed_exitcode else 0)


def diff(stack: str, base: str) -> tuple[int, str]:
    """Compares the manifests of the working tree with those of a git revision; each side is rendered by its own code.

    Args:
        stack: Name of the stack. If `base` has no stack file for it, everything is new.
        base: Git revision, such as `origin/main`.

    Returns:
        The exit code and the differences, as `compare` does.

    Raises:
        CannotRender: `base` is no revision, or its code does not render.
        EngineFailed: The working tree does not render.
    """
    with tempfile.TemporaryDirectory(prefix="diff-") as scratch:
        new, old, tree = Path(scratch) / "new", Path(scratch) / "old", Path(scratch) / "base"
        extract_revision(base, tree)
        render(stack, new)
        cache = engine.ROOT / ".cache" / "kuberay"
        if cache.is_dir():
            (tree / ".cache").mkdir(exist_ok=True)
            (tree / ".cache" / "kuberay").symlink_to(cache)
        (tree / ".venv").symlink_to(sys.prefix)
        if (tree / f"Pulumi.{stack}.yaml").is_file():
            try:
                render(stack, old, root=tree)
            except EngineFailed as error:
                raise CannotRender(f"the code of {base} does not render stack {stack}: {error}") from error
        return compare(read(old), read(new))


def compare(old: Mapping[str, list[str]], new: Mapping[str, list[str]]) -> tuple[int, str]:
    """The exit code (0 same, 2 changed, 3 an object is removed) and a unified diff of each object."""
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


def read(folder: Path) -> dict[str, list[str]]:
    """Reads rendered manifests: `kind namespace/name` -> lines of YAML."""
    manifests = {}
    for file in sorted(folder.rglob("*.yaml")):
        for document in parse_documents(file.read_text()):
            metadata = document["metadata"]
            name = f"{document['kind']} {metadata.get('namespace', '')}/{metadata['name']}"
            text = yaml.safe_dump(readable(document), sort_keys=True)
            manifests[name] = text.splitlines()
    return manifests


def readable(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest for a reviewer: a digest in place of a CRD's schema and of a dashboard, "(hidden)" in place of a
    Secret's values."""
    kind = manifest.get("kind")
    if kind == "CustomResourceDefinition":
        versions = [version["name"] for version in manifest["spec"]["versions"]]
        content = {"group": manifest["spec"]["group"], "versions": versions, "digest": digest(manifest["spec"])}
        return {**manifest, "spec": content}
    if kind == "Secret":
        hidden = {key: dict.fromkeys(manifest[key], "(hidden)") for key in ("data", "stringData") if key in manifest}
        return {**manifest, **hidden}
    if kind == "ConfigMap":
        data = {
            key: f"digest {digest(text)}" if key.endswith(".json") else text
            for key, text in (manifest.get("data") or {}).items()
        }
        return {**manifest, "data": data}
    return dict(manifest)


def as_comment(stack: str, code: int, text: str) -> str:
    """A pull request's comment on one stack: first the outcome, then the folded diff, cut at GitHub's limit."""
    shown = text[:COMMENT_CHARACTERS]
    cut = (
        ""
        if shown == text
        else f"\n... {number_of(len(text) - len(shown), 'more character')}: `make diff STACK={stack}` shows all"
    )
    title = f"### Stack `{stack}`: {HEADLINES[code]}\n"
    if code == NO_CHANGES:
        return title
    summary = "error" if code == ERROR else "manifests"
    # Longer than every fence in the manifests, so that a pull request cannot end the code block.
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", shown)), default=0))
    return f"{title}\n<details><summary>{summary}</summary>\n\n{fence}diff\n{shown}{cut}\n{fence}\n</details>\n"


def extract_revision(revision: str, folder: Path) -> None:
    """Extracts the files of a git revision to `folder`. Unlike `git worktree` it writes nothing to the repository."""
    command = ["git", "archive", "--format=tar", revision]
    done = subprocess.run(command, cwd=engine.ROOT, check=False, capture_output=True)
    if done.returncode:
        output = done.stderr.decode(errors="replace").strip()
        raise CannotRender(f"base {revision}: {output}. Is it a revision of this repository, and was it fetched?")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        # An attribute and not an argument: Python before 3.10.12 and 3.11.4, such as Debian's, has no filters.
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(folder)
