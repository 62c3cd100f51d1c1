"""The CRDs of a version, read from KubeRay's files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import yaml

from components.errors import StackError
from components.kuberay.files import write_atomically
from components.kuberay.source import CACHE, CRD_FOLDER

# Directives of a kustomization that do not change the content of a CRD.
HARMLESS_DIRECTIVES = {"apiVersion", "kind", "resources", "metadata"}


def crd_documents(tree: Path) -> list[dict[str, Any]]:
    """The CRDs in KubeRay's files, the same as kustomize would give them.

    It takes seconds to parse megabytes of YAML, so the result is cached as JSON under the digest of the files.

    Raises:
        StackError: a file is missing, or a directive of the kustomization could change a CRD.
    """
    files = _crd_files(tree / CRD_FOLDER)
    digest = hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()
    cached = CACHE / "crds" / f"{digest}.json"
    try:
        documents: list[dict[str, Any]] = json.loads(cached.read_text())
        return documents
    except (OSError, ValueError):
        pass
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    documents = [document for file in files for document in yaml.load_all(file.read_text(), loader) if document]
    kinds = sorted({document["kind"] for document in documents} - {"CustomResourceDefinition"})
    if kinds or not documents:
        raise StackError(f"{tree / CRD_FOLDER}: expected only CRDs, found {', '.join(kinds) or 'nothing'}")
    write_atomically(cached, json.dumps(documents))
    return documents


def _crd_files(folder: Path) -> list[Path]:
    """The files that the kustomization in `folder` lists, and those that it refers to."""
    kustomization = folder / "kustomization.yaml"
    if not kustomization.is_file():
        raise StackError(f"{kustomization}: there is no such file; is this a directory with KubeRay's files?")
    content = yaml.safe_load(kustomization.read_text()) or {}
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
