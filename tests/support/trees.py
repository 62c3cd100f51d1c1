"""KubeRay's manifests for tests: beside the repository, in the cache, or fetched; else the test is left out."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from components.errors import StackError
from components.kuberay import source
from components.kuberay.crds import crd_documents
from tests.support.stack import SHARED

VERSIONS = ("v0.3.0", "v1.4.0", "v1.5.0", "v1.6.2", "v1.7.0")


def crds_of(version: str) -> list[str]:
    """Names of the CRDs of `version`; skips the test where its manifests cannot be had."""
    return sorted(crd["metadata"]["name"] for crd in crd_documents(tree(version)))


@cache
def _find(version: str) -> Path | str:
    if (SHARED / version).is_dir():
        return SHARED / version
    try:
        return source.fetch(version)
    except StackError as error:
        return str(error)


def tree(version: str) -> Path:
    """The tree of `version`; skips the test where it cannot be had."""
    found = _find(version)
    if isinstance(found, str):
        pytest.skip(f"KubeRay {version}'s manifests: not in ../shared/kuberay, and {found}")
    return found
