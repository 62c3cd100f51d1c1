"""KubeRay's files on disk: the directory of a version, checked against the digest that this repository records."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from components.errors import StackError
from components.kuberay import go_module
from components.kuberay.files import write_atomically
from components.settings.kuberay import UPSTREAM
from components.settings.versions import SPLIT_CONFIG, at_least

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache"
DIGESTS = Path(__file__).with_name("digests.json")
REPOSITORY = "https://github.com/ray-project/kuberay"
FETCH_SECONDS = 300
# For a first answer: behind a firewall that drops packets git would wait for minutes.
ANSWER_SECONDS = 20
MANIFEST_SUFFIXES = {".yaml", ".yml", ".json"}

CRD_FOLDER = "ray-operator/config/crd"
RBAC_FOLDER = "ray-operator/config/rbac"
MANAGER_FOLDER = "ray-operator/config/manager"
APISERVER_FOLDER = "apiserver/deploy/base"


def folders(version: str) -> tuple[str, ...]:
    """Returns the folders of the upstream repository that an installation of `version` uses."""
    config = (CRD_FOLDER, RBAC_FOLDER, MANAGER_FOLDER, "ray-operator/config/default")
    return config if at_least(version, SPLIT_CONFIG) else (*config, "manifests", APISERVER_FOLDER)


def digest(tree: Path, version: str) -> str:
    """Returns the SHA-256 over the sorted paths and contents of the manifests in `folders(version)`.

    Raises:
        StackError: a folder has no manifests. Without this check an empty folder would have a digest too.
    """
    total = hashlib.sha256()
    for folder in sorted(folders(version)):
        files = sorted(p for p in (tree / folder).rglob("*") if p.suffix in MANIFEST_SUFFIXES and p.is_file())
        if not files:
            raise StackError(
                f"kuberay.source: {tree}: no manifests in {folder}; allowed: a directory with the files of "
                f"KubeRay {version}: {', '.join(folders(version))}"
            )
        for file in files:
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            total.update(f"{file.relative_to(tree).as_posix()}\0{content}\n".encode())
    return f"sha256:{total.hexdigest()}"


def recorded() -> dict[str, str]:
    """Returns the recorded digest of each version."""
    digests: dict[str, str] = json.loads(DIGESTS.read_text())
    return digests


def resolve(version: str, source: str = UPSTREAM) -> Path:
    """Returns the directory with KubeRay's files of a version.

    Args:
        version: an upstream tag, such as `v1.7.0`.
        source: `upstream`, which fetches the tag once, or a directory, which is used in place.

    Raises:
        StackError: the version was never published or has no recorded digest, the directory does not exist, the
            files differ from the digest, or they cannot be fetched.
    """
    known = recorded()
    if version not in known:
        raise StackError(
            f"kuberay.version: {version}: no digest of this version is recorded; allowed: {', '.join(sorted(known))}. "
            f"For a new version run `python -m ops manifests record {version}` and commit what it changes in "
            f"{DIGESTS.parent.relative_to(ROOT)}."
        )
    tree = fetch(version) if source == UPSTREAM else _local(source)
    actual = digest(tree, version)
    if actual != known[version]:
        raise StackError(
            f"KubeRay {version} in {tree}: the files differ from the recorded digest.\n"
            f"  recorded: {known[version]}\n  actual:   {actual}\n"
            "If you changed them on purpose, record them with `python -m ops manifests record "
            f"{version} --source {tree}`. Otherwise delete the directory and run again."
        )
    return tree


def record(version: str, folder: Path | None = None) -> str:
    """Writes the digest of a version's files, upstream's or those in `folder`, to digests.json; returns it."""
    tree = _local(str(folder)) if folder else fetch(version)
    actual = digest(tree, version)
    known = {**recorded(), version: actual}
    write_atomically(DIGESTS, json.dumps(dict(sorted(known.items())), indent=2) + "\n")
    return actual


def fetch(version: str) -> Path:
    """Returns the directory with the files of an upstream version: from the cache, the git tag, or the Go module.

    Raises:
        StackError: the version was never published, or neither can be fetched.
    """
    tree = CACHE / "kuberay" / version
    if tree.is_dir():
        return tree
    tree.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=tree.parent, prefix=f".{version}-") as scratch:
        files = Path(scratch, "tree")
        try:
            _from_tag(version, Path(scratch, "clone"), files)
        except _NotReachable as no_tag:
            _from_module(version, files, no_tag)
        try:
            files.rename(tree)
        except OSError:
            if not tree.is_dir():  # otherwise another run was faster
                raise
    return tree


class _NotReachable(StackError):
    """The repository cannot be read from here; the Go module perhaps can."""


def _from_tag(version: str, clone: Path, files: Path) -> None:
    _git(version, "ls-remote", REPOSITORY, f"refs/tags/{version}", seconds=ANSWER_SECONDS)
    _git(version, "clone", "--depth=1", "--filter=blob:none", "--sparse", "--branch", version, REPOSITORY, str(clone))
    _git(version, "-C", str(clone), "sparse-checkout", "set", *folders(version))
    for folder in folders(version):
        if not (clone / folder).is_dir():
            raise StackError(f"KubeRay {version}: the upstream tag has no folder {folder}")
        shutil.copytree(clone / folder, files / folder)


def _from_module(version: str, files: Path, no_tag: StackError) -> None:
    problem = "it lacks folders that this version needs"
    if go_module.has_folders(folders(version)):
        try:
            go_module.extract(version, folders(version), MANIFEST_SUFFIXES, files)
        except StackError as error:
            shutil.rmtree(files, ignore_errors=True)
            problem = str(error)
        else:
            return
    raise StackError(
        f"KubeRay {version} could not be fetched.\n  git tag: {no_tag}\n  Go module: {problem}\n"
        "Set `kuberay.source` to a directory with the files of that version, or GOPROXY to a module proxy that has it."
    ) from None


def _git(version: str, *arguments: str, seconds: float = FETCH_SECONDS) -> None:
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        with subprocess.Popen(
            ["git", "-c", "advice.detachedHead=false", *arguments],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as git:
            try:
                _, messages = git.communicate(timeout=seconds)
            except BaseException:
                with contextlib.suppress(OSError):  # it has just ended
                    os.killpg(git.pid, signal.SIGKILL)  # with its helpers, which would wait for the answer
                raise
    except FileNotFoundError as error:
        raise _NotReachable("`git` is not on PATH") from error
    except subprocess.TimeoutExpired as error:
        raise _NotReachable(f"{REPOSITORY}: no answer within {seconds:g} s") from error
    if git.returncode == 0:
        return
    lines = messages.strip().splitlines() or ["no reason given"]
    # Below the reason there may be advice of several lines.
    reason = next((line for line in lines if line.startswith(("fatal: ", "error: "))), lines[-1])
    if "not found in upstream" in messages:
        raise StackError(
            f"kuberay.version: {version}: never published; allowed: a tag of {REPOSITORY}/tags, such as "
            f"{', '.join(sorted(recorded()))}"
        )
    raise _NotReachable(f"{REPOSITORY}: {reason}")


def _local(source: str) -> Path:
    tree = Path(source).expanduser()
    tree = tree if tree.is_absolute() else ROOT / tree
    if not tree.is_dir():
        raise StackError(f'kuberay.source: "{source}": no such directory; allowed: {UPSTREAM}, or a directory')
    return tree.resolve()
