"""Source directories to upload, and the content of their packages."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from jobs.upload.pack import pack
from jobs.upload.plan import Plan


def write(path: Path, content: bytes | str = b"x") -> Path:
    """Writes a file, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def packed_members(plan: Plan) -> dict[str, bytes]:
    """The files of the package that a plan packs to, by name."""
    out = io.BytesIO()
    pack(plan, out)
    with zipfile.ZipFile(out) as archive:
        return {name: archive.read(name) for name in archive.namelist()}
