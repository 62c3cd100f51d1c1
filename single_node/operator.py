"""Builds KubeRay's operator, and makes its image."""

from __future__ import annotations

import shutil
from pathlib import Path

from .cache import cache_root
from .images import Image, ensure_image, images_dir
from .programs.go import build_program

MODULE = "github.com/ray-project/kuberay/ray-operator"
# Later versions are not served as modules.
VERSIONS = ("v1.4.0", "v1.5.0")


def archive(version: str) -> str:
    """The file name of the operator's image."""
    return f"kuberay-operator-{version}.tar"


def is_built(version: str) -> bool:
    return (images_dir() / archive(version)).exists()


def build(version: str) -> Path:
    """Builds the operator of one of VERSIONS and makes its image, unless it is there; returns the archive.

    Raises:
        NotPossible: there is no Go, or no disk space.
        SingleNodeError: the module cannot be fetched or compiled.
    """

    if is_built(version):
        return images_dir() / archive(version)
    program = build_program(
        cache_root() / "operator" / version / "manager", MODULE, requires={MODULE: version}, usually="3 minutes"
    )

    def fill(root: Path) -> None:
        shutil.copy(program, root / "manager")

    # As the official image: the manifests start `/manager` with its flags.
    config = {"Entrypoint": ["/manager"], "User": "65532:65532", "WorkingDir": "/"}
    return ensure_image(Image(f"quay.io/kuberay/operator:{version}", archive(version), fill, config))
