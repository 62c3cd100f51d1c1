"""KubeRay's files from its Go module: for networks that mirror Go modules, and not GitHub.

The module `ray-operator` of a version has the folder `config/`: `ray-operator/config` of the repository. It is
downloaded by the GOPROXY protocol (https://go.dev/ref/mod#goproxy-protocol), without Go. Nothing in it is trusted until
its digest is the recorded one (source.py).
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from components.errors import StackError

MODULE = "github.com/ray-project/kuberay/ray-operator"
# The folder of the repository that is the module's root.
ROOT_FOLDER = "ray-operator"
DEFAULT_PROXY = "https://proxy.golang.org"
DOWNLOAD_SECONDS = 60
# v1.5.0 has 3 MB in its zip, and 6 MB of manifests.
MOST_ZIP_BYTES = 64 * 1024**2
MOST_FILE_BYTES = 16 * 1024**2
MOST_FILES = 2000


def has_folders(folders: Sequence[str]) -> bool:
    """Returns whether the module can hold these folders of the repository."""
    return all(folder.startswith(f"{ROOT_FOLDER}/") for folder in folders)


def extract(version: str, folders: Sequence[str], suffixes: set[str], target: Path) -> None:
    """Downloads the module of a version and writes its manifests below `target`, as in the repository.

    Args:
        version: such as `v1.5.0`.
        folders: folders of the repository.
        suffixes: endings of the files to write.
        target: an empty directory.

    Raises:
        StackError: no proxy has the module, or it is not what a module of that version holds.
    """
    archive = _download(version)
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as package:
            members = _members(package, version, folders, suffixes)
            for path, member in members:
                file = target / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(package.read(member))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise StackError(f"the Go module {MODULE} {version} is no zip that can be read: {error}") from None
    if not members:
        raise StackError(f"the Go module {MODULE} {version} has no manifests in config/")


def proxies(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Returns the module proxies to ask, in their order: those of GOPROXY, `go env GOPROXY`, or Go's own default.

    `direct` is left out: it would ask GitHub, which was asked before. After `off` nothing is asked.
    """
    value = environ.get("GOPROXY", "").strip() or _of_go_command() or DEFAULT_PROXY
    found = []
    for entry in re.split(r"[,|]", value):
        name = entry.strip().rstrip("/")
        if name == "off":
            break
        if name and name != "direct":
            found.append(name)
    return found


def _of_go_command() -> str:
    """What `go env -w GOPROXY=...` has set; empty without Go."""
    if shutil.which("go") is None:
        return ""
    done = subprocess.run(["go", "env", "GOPROXY"], capture_output=True, text=True, check=False, timeout=20)
    return done.stdout.strip() if done.returncode == 0 else ""


def _download(version: str) -> bytes:
    problems = []
    for proxy in proxies():
        url = f"{proxy}/{MODULE}/@v/{version}.zip"
        try:
            with urllib.request.urlopen(url, timeout=DOWNLOAD_SECONDS) as answer:
                content: bytes = answer.read(MOST_ZIP_BYTES + 1)
        except (OSError, ValueError) as error:
            problems.append(f"{_shown(proxy)}: {_reason(error)}")
            continue
        if len(content) <= MOST_ZIP_BYTES:
            return content
        problems.append(f"{_shown(proxy)}: the module is larger than {MOST_ZIP_BYTES >> 20} MiB")
    raise StackError("; ".join(problems) or "GOPROXY names no module proxy")


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code}"
    return str(error.reason if isinstance(error, urllib.error.URLError) else error)[:200]


def _shown(proxy: str) -> str:
    """The proxy without user and password."""
    return re.sub(r"//[^/@]*@", "//", proxy)


def _members(
    package: zipfile.ZipFile, version: str, folders: Sequence[str], suffixes: set[str]
) -> list[tuple[str, zipfile.ZipInfo]]:
    """Returns the manifests: path in the repository, and entry. Raises StackError for entries that no module has."""
    found = list(_manifests(package, f"{MODULE}@{version}/", folders, suffixes))
    if len(found) > MOST_FILES or any(member.file_size > MOST_FILE_BYTES for _, member in found):
        raise StackError(f"the Go module {MODULE} {version} has more manifests, or larger ones, than any KubeRay")
    return found


def _manifests(
    package: zipfile.ZipFile, prefix: str, folders: Sequence[str], suffixes: set[str]
) -> Iterator[tuple[str, zipfile.ZipInfo]]:
    for member in package.infolist():
        path = PurePosixPath(ROOT_FOLDER, member.filename.removeprefix(prefix))
        is_manifest = path.suffix in suffixes and any(path.is_relative_to(folder) for folder in folders)
        # A module has files only, and no path leads out of it.
        if is_manifest and member.filename.startswith(prefix) and ".." not in path.parts and not member.is_dir():
            yield str(path), member
