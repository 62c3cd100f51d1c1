"""KubeRay's manifests on disk: version to directory, checked against the digest recorded in this repository."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from components.errors import StackError
from components.settings.kuberay import UPSTREAM
from components.settings.versions import SPLIT_CONFIG, at_least

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache"
DIGESTS = Path(__file__).with_name("digests.json")
REPOSITORY = "https://github.com/ray-project/kuberay"
FETCH_SECONDS = 300
MANIFEST_SUFFIXES = {".yaml", ".yml", ".json"}

CRD_FOLDER = "ray-operator/config/crd"
RBAC_FOLDER = "ray-operator/config/rbac"
MANAGER_FOLDER = "ray-operator/config/manager"
APISERVER_FOLDER = "apiserver/deploy/base"


def folders(version: str) -> tuple[str, ...]:
    """The folders of the upstream tree that an installation of `version` is made from."""
    config = (CRD_FOLDER, RBAC_FOLDER, MANAGER_FOLDER, "ray-operator/config/default")
    return config if at_least(version, SPLIT_CONFIG) else (*config, "manifests", APISERVER_FOLDER)


def digest(tree: Path, version: str) -> str:
    """SHA-256 over sorted paths and contents of the manifests in the folders in use.

    Raises StackError where a folder is missing: an empty folder would have a digest too.
    """
    total = hashlib.sha256()
    for folder in sorted(folders(version)):
        files = sorted(p for p in (tree / folder).rglob("*") if p.suffix in MANIFEST_SUFFIXES and p.is_file())
        if not files:
            raise StackError(
                f"kuberay.source: {tree}: no manifests in {folder}; allowed: a directory that holds the tree of "
                f"KubeRay {version}, with {', '.join(folders(version))}"
            )
        for file in files:
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            total.update(f"{file.relative_to(tree).as_posix()}\0{content}\n".encode())
    return f"sha256:{total.hexdigest()}"


def recorded() -> dict[str, str]:
    """Digest by version, as this repository has them."""
    found: dict[str, str] = json.loads(DIGESTS.read_text())
    return found


def resolve(version: str, source: str = UPSTREAM) -> Path:
    """The version's tree: of the upstream tag, or in the directory `source`, in place.

    What is on the machine already needs no network. Raises StackError for a version that was never published, one
    without a recorded digest, a missing directory, and contents that differ from the digest.
    """
    known = recorded()
    if version not in known:
        raise StackError(
            f"kuberay.version: {version}: no such version is recorded here; allowed: {', '.join(sorted(known))}. "
            f"If it was published: `python -m ops manifests record {version}`, and commit {DIGESTS.relative_to(ROOT)}."
        )
    tree = fetch(version) if source == UPSTREAM else _local(source)
    found = digest(tree, version)
    if found != known[version]:
        raise StackError(
            f"KubeRay {version} in {tree}: the manifests are not the ones recorded.\n"
            f"  recorded: {known[version]}\n  found:    {found}\n"
            "If they were changed on purpose, record them with `python -m ops manifests record "
            f"{version} --source {tree}`; otherwise remove the directory, and fetch again."
        )
    return tree


def record(version: str, folder: Path | None = None) -> str:
    """Writes the digest of a version's manifests, upstream's or those in `folder`, into digests.json."""
    tree = _local(str(folder)) if folder else fetch(version)
    found = digest(tree, version)
    known = {**recorded(), version: found}
    _write(DIGESTS, json.dumps(dict(sorted(known.items())), indent=2) + "\n")
    return found


def fetch(version: str) -> Path:
    """The tree of the upstream tag, from the cache or over the network; never half of it."""
    tree = CACHE / "kuberay" / version
    if tree.is_dir():
        return tree
    tree.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=tree.parent, prefix=f".{version}-") as scratch:
        clone, wanted = Path(scratch, "clone"), Path(scratch, "tree")
        _git(
            version, "clone", "--depth=1", "--filter=blob:none", "--sparse", "--branch", version, REPOSITORY, str(clone)
        )
        _git(version, "-C", str(clone), "sparse-checkout", "set", *folders(version))
        for folder in folders(version):
            if not (clone / folder).is_dir():
                raise StackError(f"KubeRay {version}: the upstream tag has no folder {folder}")
            shutil.copytree(clone / folder, wanted / folder)
        try:
            wanted.rename(tree)
        except OSError:
            if not tree.is_dir():  # else: another run was faster, and its tree is as good
                raise
    return tree


def _git(version: str, *arguments: str) -> None:
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", "-c", "advice.detachedHead=false", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=FETCH_SECONDS,
            check=False,
        )
    except FileNotFoundError as error:
        raise StackError("`git` is not on PATH; install it, or set `kuberay.source` to a directory") from error
    except subprocess.TimeoutExpired as error:
        raise StackError(
            f"KubeRay {version}: fetching {REPOSITORY} took more than {FETCH_SECONDS} s; "
            "try again, or set `kuberay.source` to a directory that holds it"
        ) from error
    if done.returncode == 0:
        return
    reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    if "not found in upstream" in done.stderr:
        raise StackError(
            f"kuberay.version: {version}: never published; allowed: a tag of {REPOSITORY}/tags, such as "
            f"{', '.join(sorted(recorded()))}"
        )
    raise StackError(
        f"KubeRay {version} could not be fetched from {REPOSITORY}: {reason}. "
        "Without a network set `kuberay.source` to a directory that holds that version's tree."
    )


def _local(source: str) -> Path:
    tree = Path(source).expanduser()
    tree = tree if tree.is_absolute() else ROOT / tree
    if not tree.is_dir():
        raise StackError(f'kuberay.source: "{source}": no such directory; allowed: {UPSTREAM}, or a directory')
    return tree.resolve()


def _write(path: Path, text: str) -> None:
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
        file.write(text)
    os.replace(file.name, path)
