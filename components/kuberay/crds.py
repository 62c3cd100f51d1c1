"""The CRDs of a version, read from KubeRay's files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from components.errors import StackError
from components.kuberay.files import write_atomically
from components.kuberay.source import CACHE, CRD_FOLDER
from jobs.yaml_file import parse_documents

JSON_DIGESTS = Path(__file__).with_name("crd_digests.json")
# Directives of a kustomization that do not change the content of a CRD.
HARMLESS_DIRECTIVES = {"apiVersion", "kind", "resources", "metadata"}


def crd_documents(tree: Path) -> list[dict[str, Any]]:
    """Returns the CRDs in KubeRay's files, the same as kustomize would give them.

    It takes seconds to parse megabytes of YAML, so the result is cached as JSON under the digest of the files. `up`
    applies these documents, and others may have written the cache (a shared directory, a restored CI cache). So the
    JSON is used only if the repository records its digest too.

    Raises:
        StackError: a file is missing, or a directive of the kustomization could change a CRD.
    """
    files = _crd_files(tree / CRD_FOLDER)
    contents = [file.read_bytes() for file in files]
    digest = _digest(b"\0".join(contents))
    recorded = recorded_json().get(digest)
    cached = CACHE / "crds" / f"{digest}.json"
    if recorded and cached.is_file():
        data = cached.read_bytes()
        if _digest(data) == recorded:
            documents: list[dict[str, Any]] = json.loads(data)
            return documents
    documents = _parse(contents, tree)
    text = json.dumps(documents)
    if _digest(text.encode()) == recorded:
        write_atomically(cached, text)
    return documents


def recorded_json() -> dict[str, str]:
    """Returns the recorded digest of the CRDs as JSON, by the digest of their files."""
    digests: dict[str, str] = json.loads(JSON_DIGESTS.read_text())
    return digests


def record(tree: Path) -> None:
    """Writes the digest of the CRDs in `tree` as JSON to crd_digests.json."""
    contents = [file.read_bytes() for file in _crd_files(tree / CRD_FOLDER)]
    digest = _digest(json.dumps(_parse(contents, tree)).encode())
    digests = {**recorded_json(), _digest(b"\0".join(contents)): digest}
    write_atomically(JSON_DIGESTS, json.dumps(dict(sorted(digests.items())), indent=2) + "\n")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _parse(contents: list[bytes], tree: Path) -> list[dict[str, Any]]:
    documents = [document for content in contents for document in parse_documents(content.decode())]
    kinds = sorted({document["kind"] for document in documents} - {"CustomResourceDefinition"})
    if kinds or not documents:
        raise StackError(f"{tree / CRD_FOLDER}: expected only CRDs, found {', '.join(kinds) or 'nothing'}")
    return documents


def _crd_files(folder: Path) -> list[Path]:
    """Returns the files that the kustomization in `folder` lists, and those that it refers to."""
    kustomization = folder / "kustomization.yaml"
    if not kustomization.is_file():
        raise StackError(f"{kustomization}: there is no such file; is this a directory with KubeRay's files?")
    content: dict[str, Any] = next(iter(parse_documents(kustomization.read_text())), {})
    unknown = sorted(set(content) - HARMLESS_DIRECTIVES)
    if unknown:
        raise StackError(f"{kustomization}: {', '.join(unknown)} would change the CRDs; allowed: resources")
    files: list[Path] = []
    for resource in content.get("resources") or []:
        path = folder / resource
        files += _crd_files(path) if path.is_dir() else [path]
    missing = [str(path) for path in files if not path.is_file()]
    if missing:
        raise StackError(f"{kustomization}: it lists files that do not exist: {', '.join(missing)}")
    return files
