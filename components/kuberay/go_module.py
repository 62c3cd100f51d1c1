"""KubeRay's files from its Go module: for networks that mirror Go modules, and not GitHub.

The module `ray-operator` of a version has the folder `config/`: `ray-operator/config` of the repository. The `go`
command downloads it, where there is one: it knows the module cache, credentials and the checksum database. Otherwise it
is read by the GOPROXY protocol (https://go.dev/ref/mod#goproxy-protocol). Nothing in it is trusted until its digest is
the recorded one (source.py).
"""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from components.errors import StackError

MODULE = "github.com/ray-project/kuberay/ray-operator"
# The folder of the repository that is the module's root.
ROOT_FOLDER = "ray-operator"
DEFAULT_PROXY = "https://proxy.golang.org"
SILENCE_SECONDS = 30
DOWNLOAD_SECONDS = 300
# v1.5.0 has 3 MB in its zip, and 6 MB of manifests.
MOST_ZIP_BYTES = 64 * 1024**2
MOST_FILE_BYTES = 16 * 1024**2
MOST_BYTES = 64 * 1024**2
MOST_FILES = 2000
# Those of Go's own zips. The decompressors of the others have no limit.
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
# The module is not there; after any other answer, only `|` leads to the next proxy.
NOT_THERE = {404, 410}


@dataclass(frozen=True)
class Proxy:
    """An entry of GOPROXY.

    Args:
        url: with `https://`, `http://` or `file://`, perhaps with user and password.
        next_after_any_error: `|` stands behind it. With `,` the next proxy is asked only about what this one lacks.
    """

    url: str
    next_after_any_error: bool = False

    def __str__(self) -> str:
        return _shown(self.url)


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
    for path, content in _manifests(_download(version), version, folders, suffixes).items():
        file = target / path
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        except OSError as error:
            raise StackError(
                f"{path} of the Go module {MODULE} {version} cannot be written: {error.strerror}"
            ) from None


def proxies(environ: Mapping[str, str] = os.environ) -> list[Proxy]:
    """Returns the module proxies to ask, in their order: those of GOPROXY, `go env GOPROXY`, or Go's own default.

    `direct` is left out: it would ask GitHub, which was asked before. After `off` nothing is asked.
    """
    value = environ.get("GOPROXY", "").strip() or _of_go_command() or DEFAULT_PROXY
    found = []
    for entry, separator in re.findall(r"([^,|]+)([,|]?)", value):
        name = entry.strip().rstrip("/")
        if name == "off":
            break
        if name and name != "direct":
            found.append(Proxy(_with_scheme(name), separator == "|"))
    return found


def _with_scheme(name: str) -> str:
    """An entry of GOPROXY as a URL. Go reads a name such as `proxy.example.com/go` as one with `https://`."""
    is_host = any(character in name for character in ".:/") and ":/" not in name and not name.startswith("/")
    return f"https://{name}" if is_host else name


def _of_go_command() -> str:
    """What `go env -w GOPROXY=...` has set; empty without Go."""
    value = _go("env", "GOPROXY", seconds=20).strip()
    # A launcher of several Go versions prints a sentence where none is chosen.
    return "" if re.search(r"\s", value) else value


def _go(*arguments: str, seconds: float, goproxy: str | None = None) -> str:
    """The output of the `go` command; empty: there is none, or it does not work."""
    go = shutil.which("go")
    if go is None:
        return ""
    # The settings of a project in the current folder do not count.
    environment = {**os.environ, "GOFLAGS": "-mod=mod", "GOWORK": "off", "GIT_TERMINAL_PROMPT": "0"}
    if goproxy is not None:
        environment["GOPROXY"] = goproxy
    try:
        with tempfile.TemporaryDirectory() as folder:
            command = [go, *arguments]
            return subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, timeout=seconds, check=False
            ).stdout
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return ""


def _download(version: str) -> bytes:
    problems: list[str] = []
    content = _by_go_command(version, problems)
    content = _by_http(version, problems) if content is None else content
    if content is None:
        raise StackError("; ".join(problems) or "GOPROXY names no module proxy")
    if len(content) > MOST_ZIP_BYTES:
        raise StackError(f"the Go module {MODULE} {version} is larger than {MOST_ZIP_BYTES >> 20} MiB")
    return content


def _by_go_command(version: str, problems: list[str]) -> bytes | None:
    """The module's zip, from `go mod download`. Adds to `problems` why there is none."""
    goproxy = "".join(f"{proxy.url}{'|' if proxy.next_after_any_error else ','}" for proxy in proxies()).rstrip(",|")
    answer: Any = None
    output = _go(
        "mod", "download", "-json", f"{MODULE}@{version}", seconds=DOWNLOAD_SECONDS, goproxy=goproxy or "off"
    )  # fmt: skip
    try:
        answer = json.loads(output or "{}")
        with Path(answer["Zip"]).open("rb") as file:
            return file.read(MOST_ZIP_BYTES + 1)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    reason = str(answer.get("Error") or "") if isinstance(answer, dict) else ""
    if "SECURITY ERROR" in reason or "checksum mismatch" in reason:
        raise StackError(f"the Go module {MODULE} {version} is not the one that Go's checksum database knows: {reason}")
    if reason:
        problems.append(f"go: {_shown(reason.splitlines()[0])[:300]}")
    return None


def _by_http(version: str, problems: list[str]) -> bytes | None:
    """The module's zip, from the first proxy that has it. Adds to `problems` why there is none."""
    for proxy in proxies():
        try:
            return _read(f"{proxy.url}/{MODULE}/@v/{version}.zip")
        except (OSError, ValueError, http.client.HTTPException) as error:
            problems.append(f"{proxy}: {_reason(error)}")
            if not (proxy.next_after_any_error or _is_not_there(error)):
                break
    return None


def _read(url: str) -> bytes:
    """The content at a URL, at most one byte more than a zip may have."""
    parts = urllib.parse.urlsplit(url)
    user, _, address = parts.netloc.rpartition("@")
    request = urllib.request.Request(parts._replace(netloc=address).geturl())
    if user:
        credentials = base64.b64encode(urllib.parse.unquote(user).encode()).decode()
        # Not sent again where the proxy redirects to a storage.
        request.add_unredirected_header("Authorization", f"Basic {credentials}")
    content, deadline = bytearray(), time.monotonic() + DOWNLOAD_SECONDS
    with urllib.request.urlopen(request, timeout=SILENCE_SECONDS) as answer:
        while len(content) <= MOST_ZIP_BYTES and (block := answer.read1(1 << 20)):
            content += block
            if time.monotonic() > deadline:
                raise TimeoutError(f"it took more than {DOWNLOAD_SECONDS} s")
        missing = int(answer.headers.get("Content-Length") or 0) - len(content)
    if missing > 0 and len(content) <= MOST_ZIP_BYTES:
        raise http.client.IncompleteRead(bytes(content), missing)
    return bytes(content)


def _is_not_there(error: Exception) -> bool:
    if isinstance(error, urllib.error.HTTPError):
        return error.code in NOT_THERE
    return isinstance(getattr(error, "reason", error), FileNotFoundError)


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code}"
    if isinstance(error, http.client.IncompleteRead):
        return "the answer is not complete"
    return _shown(str(error.reason if isinstance(error, urllib.error.URLError) else error))[:200]


def _shown(text: str) -> str:
    """A text without user and password of the URLs in it."""
    return re.sub(r"//[^/@\s]*@", "//", text)


def _manifests(archive: bytes, version: str, folders: Sequence[str], suffixes: set[str]) -> dict[str, bytes]:
    """Returns the content of the manifests by their path in the repository.

    Raises:
        StackError: it is not what a module of KubeRay can be.
    """
    name = f"the Go module {MODULE} {version}"
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as package:
            members = list(_members(package, f"{MODULE}@{version}/", folders, suffixes))
            sizes = [member.file_size for _, member in members]
            if len(members) > MOST_FILES or sum(sizes) > MOST_BYTES or max(sizes, default=0) > MOST_FILE_BYTES:
                raise StackError(f"{name} has more manifests, or larger ones, than any KubeRay")
            if any(member.compress_type not in METHODS for _, member in members):
                raise StackError(f"{name} is compressed as no Go module is")
            contents = {path: _content(package, member) for path, member in members}
    except StackError:
        raise
    except Exception as error:  # zipfile raises many kinds of errors for bytes that are no zip
        raise StackError(f"{name} is no zip that can be read: {error}") from None
    if not contents:
        raise StackError(f"{name} has no manifests in config/")
    return contents


def _content(package: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """The content of an entry. Its stated size is the limit: without one, the entry is decompressed as a whole."""
    with package.open(member) as file:
        content = file.read(member.file_size)
        file.read(1)  # at the end the checksum is compared
    if len(content) != member.file_size:
        raise ValueError(f"{member.filename} ends early")
    return content


def _members(
    package: zipfile.ZipFile, prefix: str, folders: Sequence[str], suffixes: set[str]
) -> Iterator[tuple[str, zipfile.ZipInfo]]:
    for member in package.infolist():
        path = PurePosixPath(ROOT_FOLDER, member.filename.removeprefix(prefix))
        is_manifest = path.suffix in suffixes and any(path.is_relative_to(folder) for folder in folders)
        # A module has files only, and no path leads out of it.
        if is_manifest and member.filename.startswith(prefix) and ".." not in path.parts and not member.is_dir():
            yield str(path), member
