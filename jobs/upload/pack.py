"""The bytes of a package."""

from __future__ import annotations

import contextlib
import hashlib
import io
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO, cast

from ..activity import Activity, activity
from ..errors import LocalFault, PackageTooLarge
from .plan import CHUNK, Plan, PlannedFile, changed, name_digest, open_source

# The largest request body that the dashboard accepts (aiohttp's client_max_size), also if GCS could store more.
# Ray's documentation says 512 MiB.
SERVER_LIMIT = 100 * 1024**2


def pack(plan: Plan, out: IO[bytes], *, limit: int | None = None) -> None:
    """Writes the package: the same plan gives the same bytes.

    Args:
        plan: The plan of a directory or an archive.
        out: The file to write to.
        limit: The largest size in bytes; None for any size.

    Raises:
        SourceChanged: A file changed or vanished after the plan was made. A file that only grew is packed as planned.
        PackageTooLarge: The package is over the limit.
    """
    root = plan.root
    if root is None:
        raise ValueError(f"{plan.uri} is remote: there is nothing to pack")
    with activity("Packing", total=plan.total_bytes) as packing:
        _write(plan, root, out, limit, packing)


def _write(plan: Plan, root: Path, out: IO[bytes], limit: int | None, packing: Activity) -> None:
    if plan.kind == "archive":
        _copy(root, plan.files[0], hashlib.sha1(usedforsecurity=False), out, packing)
        _check_limit(plan, out, limit)
        return
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for relpath in plan.empty_directories:
            archive.writestr(_member(f"{plan.prefix}{relpath}/", stat.S_IFDIR | 0o755), b"")
        for file in plan.files:
            member = _member(plan.prefix + file.relpath, stat.S_IFREG | (0o755 if file.executable else 0o644))
            member.file_size = file.size
            member.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(member, "w") as target:
                _copy(root / file.relpath, file, name_digest(file.relpath), target, packing)
            _check_limit(plan, out, limit)
    _check_limit(plan, out, limit)


@contextlib.contextmanager
def packed(plan: Plan, *, limit: int = SERVER_LIMIT) -> Iterator[tuple[BinaryIO, int]]:
    """Packs into a temporary file. Gives the file, at its first byte, and its size in bytes; removes the file
    afterwards.

    Raises:
        SourceChanged, PackageTooLarge: See `pack`.
        LocalFault: The temporary directory is full.
    """
    try:
        out = tempfile.TemporaryFile()  # noqa: SIM115 - closing a full one raises, see below
    except OSError as error:
        raise _no_space(error) from None
    try:
        try:
            pack(plan, out, limit=limit)
            size = out.seek(0, io.SEEK_END)
            out.seek(0)
        except OSError as error:
            raise _no_space(error) from None
        yield cast(BinaryIO, out), size
    finally:
        # Closing writes the rest once more; that error would hide the first one.
        with contextlib.suppress(OSError):
            out.close()


def _no_space(error: OSError) -> LocalFault:
    return LocalFault(
        f"Could not write the package to a temporary file: {error.strerror or error}.",
        "Free space in the temporary directory, or set TMPDIR to another one.",
    )


def _member(name: str, mode: int) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    member.create_system = 3
    member.external_attr = mode << 16
    return member


def _copy(path: Path, file: PlannedFile, digest: hashlib._Hash, out: IO[bytes], packing: Activity) -> None:
    left = file.size
    with open_source(path, file.relpath) as source:
        # Not further than planned: a log may have grown since.
        while chunk := source.read(min(CHUNK, left)):
            left -= len(chunk)
            digest.update(chunk)
            out.write(chunk)
            packing.add(len(chunk))
    if left or digest.digest() != file.digest:
        raise changed(file.relpath, "changed while the package was made")


def _check_limit(plan: Plan, out: IO[bytes], limit: int | None) -> None:
    if limit is None or out.tell() <= limit:
        return
    largest = ", ".join(f"{file.relpath} ({_mib(file.size)})" for file in plan.largest(5))
    raise PackageTooLarge(
        f"The package of {plan.source} is over the {_mib(limit)} that Ray's server accepts. Largest: {largest}.",
        "Leave files out with .rayignore or the excludes of runtime_env, or put an archive into a bucket and use its "
        "URI instead.",
    )


def _mib(size: int) -> str:
    return f"{size / 1024**2:.1f} MiB"
