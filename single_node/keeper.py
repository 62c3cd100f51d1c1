"""Makes the image of the keeper from a checkout, without Docker: what image/Dockerfile makes, on Debian's Python.

Debian and the locked packages take minutes, and are kept. The checkout's own code takes seconds. So the image has the
code as it is now, and another code is another tag.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

from .cache import cache_root, locked, recipe_digest
from .images import DEBIAN_SUITE, PATH, Image, debootstrap, ensure_image, images_dir, pip_install, remove_root, run
from .progress import step

FILE = "rayjobs.tar"
PACKAGES = ("python3", "python3-pip")
USER = "10001:10001"  # of image/Dockerfile
LOCK, CODE, PROGRAM = "image/requirements.lock", "jobs", "image/rayjobs"
IGNORED = ("__pycache__",)


def image_of(checkout: Path) -> Image:
    """Returns the image of a checkout. Its tag follows from the code and the locked packages."""

    def fill(root: Path) -> None:
        run("tar", "--numeric-owner", "-xf", str(_base(checkout)), "-C", str(root))
        shutil.copytree(checkout / CODE, root / "opt/rayjobs/rayjobs", ignore=shutil.ignore_patterns(*IGNORED))
        shutil.copy(checkout / PROGRAM, root / "usr/local/bin/rayjobs")
        run("chmod", "-R", "a+rX", str(root / "opt/rayjobs"), str(root / "usr/local/bin/rayjobs"))

    config = {
        "Entrypoint": ["rayjobs"],
        "User": USER,
        "WorkingDir": "/tmp",
        "Env": [PATH, "HOME=/tmp", "LANG=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1", "PYTHONPATH=/opt/rayjobs"],
    }
    tag = f"docker.io/library/rayjobs:checkout-{_digest(checkout)}"
    return Image(tag, FILE, fill, config, "3 minutes the first time")


def build(checkout: Path) -> str:
    """Makes the image of a checkout, unless the archive in the cache is it. Returns its tag.

    Raises:
        SingleNodeError: a program is missing or fails.
    """
    image, archive = image_of(checkout), images_dir() / FILE
    if archive.exists() and _tag_in(archive) != image.tag:
        archive.unlink()
    ensure_image(image)
    return image.tag


def _digest(checkout: Path) -> str:
    folder = checkout / CODE
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not set(IGNORED) & set(path.parts))
    texts = [f"{path.relative_to(checkout)}\0{path.read_bytes().hex()}" for path in files]
    return recipe_digest(_base_name(checkout), (checkout / PROGRAM).read_text(), *texts)


def _tag_in(archive: Path) -> str:
    with tarfile.open(archive) as content:
        manifest = content.extractfile("manifest.json")
        assert manifest is not None
        return str(json.load(manifest)[0]["RepoTags"][0])


def _base_name(checkout: Path) -> str:
    return f"base-{recipe_digest(DEBIAN_SUITE, *PACKAGES, (checkout / LOCK).read_text())}.tar"


def _base(checkout: Path) -> Path:
    """Returns the archive of a root with Debian's Python and the locked packages. It is made once for each lock."""
    target = cache_root() / "keeper" / _base_name(checkout)
    with locked(target.with_suffix(".lock")):
        if not target.exists():
            root, partial = target.with_suffix(".rootfs"), target.with_suffix(".partial")
            remove_root(root)
            root.mkdir(parents=True)
            try:
                with step("making the root of the keeper's image", "3 minutes"):
                    debootstrap(root, *PACKAGES)
                    shutil.copy(checkout / LOCK, root / "tmp/requirements.lock")
                    pip_install(root, "--no-deps", "--require-hashes", "-r", "/tmp/requirements.lock")
                    (root / "tmp/requirements.lock").unlink()
                    run("tar", "--numeric-owner", "--one-file-system", "-C", str(root), "-cf", str(partial), ".")
                partial.rename(target)
            finally:
                remove_root(root)
                partial.unlink(missing_ok=True)
    return target
