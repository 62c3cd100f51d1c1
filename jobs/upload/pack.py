"""A working_dir becomes a package: `plan` says what goes into it and what it is called, `pack` writes its bytes."""

from __future__ import annotations

import contextlib
import hashlib
import io
import stat
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, BinaryIO, cast

from ..errors import LocalFault, PackageTooLarge, SourceChanged
from .plan import (
    CHUNK,
    Noted,
    Plan,
    PlannedFile,
    Removed,
    changed,
    name_digest,
    open_source,
    plan,
)

__all__ = ["SERVER_LIMIT", "Noted", "Plan", "PlannedFile", "Removed", "SourceChanged", "pack", "packed", "plan"]

# What the dashboard accepts as one request body (its aiohttp client_max_size), whatever GCS could store.
SERVER_LIMIT = 100 * 1024**2

Progress = Callable[[int], None]


def pack(plan: Plan, out: IO[bytes], progress: Progress | None = None, *, limit: int | None = None) -> None:
    """Writes the package to `out`: the same plan gives the same bytes.

    `progress` is told the number of source bytes done since the last call. What is written is what was planned: a
    file that changed or vanished since raises SourceChanged. `limit` (bytes) raises PackageTooLarge while packing.
    """
    root = plan.root
    if root is None:
        raise ValueError(f"{plan.uri} is remote: there is nothing to pack")
    if plan.kind == "archive":
        only = plan.files[0]
        _copy(root, only, hashlib.sha1(usedforsecurity=False), out, progress)
        _check_limit(plan, out, limit)
        return
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for relpath in plan.empty_directories:
            archive.writestr(_member(relpath + "/", stat.S_IFDIR | 0o755), b"")
        for file in plan.files:
            member = _member(file.relpath, stat.S_IFREG | (0o755 if file.executable else 0o644))
            member.file_size = file.size
            member.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(member, "w") as target:
                _copy(root / file.relpath, file, name_digest(file.relpath), target, progress)
            _check_limit(plan, out, limit)
    _check_limit(plan, out, limit)


@contextlib.contextmanager
def packed(
    plan: Plan, progress: Progress | None = None, *, limit: int = SERVER_LIMIT
) -> Iterator[tuple[BinaryIO, int]]:
    """The package in a temporary file, at its start, and its size in bytes; gone afterwards.

    Raises PackageTooLarge, SourceChanged, and LocalFault where the temporary directory is full.
    """
    try:
        out = tempfile.TemporaryFile()  # noqa: SIM115 - closing a full one raises, see below
    except OSError as error:
        raise _no_room(error) from None
    try:
        try:
            pack(plan, out, progress, limit=limit)
            size = out.seek(0, io.SEEK_END)
            out.seek(0)
        except OSError as error:
            raise _no_room(error) from None
        yield cast(BinaryIO, out), size
    finally:
        # What did not fit is written once more on closing; that error would hide the one for the person.
        with contextlib.suppress(OSError):
            out.close()


def _no_room(error: OSError) -> LocalFault:
    return LocalFault(
        f"The package cannot be written to a temporary file: {error.strerror or error}.",
        "Make room in the temporary directory, or set TMPDIR to another place.",
    )


def _member(name: str, mode: int) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    member.create_system = 3
    member.external_attr = mode << 16
    return member


def _copy(path: Path, file: PlannedFile, digest: hashlib._Hash, out: IO[bytes], progress: Progress | None) -> None:
    left = file.size
    with open_source(path, file.relpath) as source:
        # One byte more than planned tells a file that grew from one that did not.
        while chunk := source.read(min(CHUNK, left + 1)):
            left -= len(chunk)
            if left < 0:
                break
            digest.update(chunk)
            out.write(chunk)
            if progress:
                progress(len(chunk))
    if left or digest.digest() != file.digest:
        raise changed(file.relpath, "changed while the package was made")


def _check_limit(plan: Plan, out: IO[bytes], limit: int | None) -> None:
    if limit is None or out.tell() <= limit:
        return
    biggest = ", ".join(f"{file.relpath} ({_mib(file.size)})" for file in plan.largest(5))
    raise PackageTooLarge(
        f"The package of {plan.source} is over the {_mib(limit)} that Ray's server takes. Largest: {biggest}.",
        "Keep them out with .rayignore or runtime_env's excludes, or put an archive into a bucket and give its URI "
        "as working_dir.",
    )


def _mib(size: int) -> str:
    return f"{size / 1024**2:.1f} MiB"
