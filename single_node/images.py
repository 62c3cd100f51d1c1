"""Builds container images without Docker and without a registry, as docker-archive tars in the cache's `images/`.

Each is one layer: Debian's packages by debootstrap (and Ray's wheel by pip), or one static program. Every `*.tar`
in that folder is imported into the cluster at its start, so images that only exist elsewhere (the operator's) are put
there by hand, from `docker save` or `ctr images export`.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .cache import cache_root, held_locks, locked
from .errors import SingleNodeError
from .programs.kubernetes import COREDNS_VERSION, bin_dir, build
from .progress import step

RAY_VERSION = "2.60.0"
RAY_IMAGE = f"docker.io/rayproject/ray:{RAY_VERSION}"
PAUSE_IMAGE = "registry.k8s.io/pause:3.10"
COREDNS_IMAGE = f"registry.k8s.io/coredns/coredns:v{COREDNS_VERSION}"
REDIS_IMAGE = "docker.io/library/redis:7.4.6"  # the default of `redis.image`; its content is Debian's Redis

DEBIAN_SUITE = "bookworm"
CA_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}

# What the official image's entry point does that people rely on: bare options mean redis-server, and clients from
# other pods are let in (Debian's default is protected mode).
REDIS_ENTRYPOINT = """\
#!/bin/sh
case "${1:-}" in
    "" | -* | *.conf) set -- redis-server "$@" ;;
esac
[ "$1" != redis-server ] || set -- "$@" --protected-mode no
exec "$@"
"""


@dataclass(frozen=True)
class Image:
    """An image to make: its full tag, the file's name in the cache, how to fill its root, its configuration, and how
    long that usually takes."""

    tag: str
    file: str
    fill: Callable[[Path], None]
    config: Mapping[str, object] = field(default_factory=dict)
    usually: str = ""


def images_dir() -> Path:
    """The folder whose tars are imported at start."""
    return cache_root() / "images"


def missing_images() -> list[str]:
    """Names of the archives that are not made yet."""
    return [image.file for image in IMAGES if not (images_dir() / image.file).exists()]


def ensure_images() -> Path:
    """Makes the images which are not there yet and returns their folder."""
    for image in IMAGES:
        ensure_image(image)
    return images_dir()


def ensure_image(image: Image) -> Path:
    """Makes an image unless it is there, and returns its archive."""
    target = images_dir() / image.file
    with locked(images_dir() / f".{image.file}.lock"):
        if not target.exists():
            _make(image, target)
    return target


def _make(image: Image, target: Path) -> None:
    root = target.with_suffix(".rootfs")
    remove_root(root)
    root.mkdir(parents=True)
    try:
        with step(f"making the image {image.tag}", image.usually):
            image.fill(root)
            _pack(image, root, target)
    except OSError as error:
        raise SingleNodeError(f"The image {image.tag} cannot be made in {target.parent}: {error.strerror}.") from error
    finally:
        remove_root(root)
        for unfinished in (".layer", ".partial"):
            target.with_suffix(unfinished).unlink(missing_ok=True)


def _pack(image: Image, root: Path, target: Path) -> None:
    layer = target.with_suffix(".layer")
    partial = target.with_suffix(".partial")
    run("tar", "--numeric-owner", "--one-file-system", "-C", str(root), "-cf", str(layer), ".")
    with layer.open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    config = {
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": image.config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest.hexdigest()}"]},
        "history": [{"created_by": "single_node/images.py"}],
    }
    manifest = [{"Config": "config.json", "RepoTags": [image.tag], "Layers": ["layer.tar"]}]
    for name, content in (("config.json", config), ("manifest.json", manifest)):
        target.with_suffix(f".{name}").write_text(json.dumps(content))
    with tarfile.open(partial, "w") as archive:
        for name in ("config.json", "manifest.json"):
            archive.add(target.with_suffix(f".{name}"), name)
            target.with_suffix(f".{name}").unlink()
        archive.add(layer, "layer.tar")
    layer.unlink()
    partial.rename(target)


def _fill_program(name: str) -> Callable[[Path], None]:
    def fill(root: Path) -> None:
        build()
        shutil.copy(bin_dir() / name, root / name)

    return fill


def debootstrap(root: Path, *packages: str) -> None:
    """Fills a root with Debian's smallest system and some packages. Raises SingleNodeError."""
    if shutil.which("debootstrap") is None:
        raise SingleNodeError("The command `debootstrap` is missing (Debian package of the same name).")
    log = root.with_suffix(".log")
    include = f"--include={','.join(('ca-certificates', *packages))}"
    run("debootstrap", "--variant=minbase", include, DEBIAN_SUITE, str(root), log=log)
    for folder in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale"):
        shutil.rmtree(root / folder, ignore_errors=True)
    log.unlink()


def _fill_ray(root: Path) -> None:
    debootstrap(root, "python3", "python3-pip", "wget", "procps")
    (root / "usr/bin/python").symlink_to("python3")
    run("chroot", str(root), "useradd", "--create-home", "--shell", "/bin/bash", "--uid", "1000", "--gid", "100", "ray")
    pip_install(root, f"ray[default]=={RAY_VERSION}")


def pip_install(root: Path, *arguments: str) -> None:
    """Installs Python packages in a root that has Debian's python3-pip. Raises SingleNodeError."""
    # For the installation only: this machine's name servers, certificates and pip settings, to reach the package
    # index. PIP_FIND_LINKS names folders that do not exist in the image.
    bundle = next((Path(path) for path in CA_BUNDLES if Path(path).exists()), None)
    settings = {
        name: value
        for name, value in os.environ.items()
        if (name.startswith("PIP_") and name != "PIP_FIND_LINKS") or name.lower().endswith("_proxy")
    }
    settings.update(PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", HOME="/root")
    own_bundle = root / "tmp/pip-certificates.crt"
    if bundle is not None:
        shutil.copy(bundle, own_bundle)
        settings["PIP_CERT"] = "/tmp/pip-certificates.crt"
    resolv = root / "etc/resolv.conf"
    resolv.unlink(missing_ok=True)
    shutil.copy("/etc/resolv.conf", resolv)
    log = root.with_suffix(".log")
    pip = ["python3", "-m", "pip", "install", "--break-system-packages", "--no-cache-dir", "--root-user-action=ignore"]
    with _mounted_proc(root):
        run("chroot", str(root), *pip, *arguments, env=settings, log=log)
    own_bundle.unlink(missing_ok=True)
    resolv.write_text("")
    log.unlink()


def _fill_redis(root: Path) -> None:
    debootstrap(root, "redis-server")
    entrypoint = root / "usr/local/bin/docker-entrypoint.sh"
    entrypoint.write_text(REDIS_ENTRYPOINT)
    entrypoint.chmod(0o755)
    (root / "data").mkdir()


class _mounted_proc:
    """/proc inside a chroot for as long as the block runs: some packages' installation reads it."""

    def __init__(self, root: Path) -> None:
        self.place = root / "proc"

    def __enter__(self) -> None:
        run("mount", "-t", "proc", "proc", str(self.place))

    def __exit__(self, *_: object) -> None:
        run("umount", "-l", str(self.place))


def remove_root(root: Path) -> None:
    """Removes a root filesystem; never across a mount that an interrupted run left in it."""
    for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
        place = line.split()[1]
        if place.startswith(f"{root}/"):
            run("umount", "-l", place)
    if root.exists():
        shutil.rmtree(root)


def run(*command: str, env: Mapping[str, str] | None = None, log: Path | None = None) -> None:
    """Runs a command, at low priority; a failure names it and its log file."""
    if log is None:
        done = subprocess.run(["nice", *command], env=env, pass_fds=held_locks(), check=False)
    else:
        with log.open("a") as file:
            done = subprocess.run(
                ["nice", *command],
                env=env,
                stdout=file,
                stderr=subprocess.STDOUT,
                pass_fds=held_locks(),
                check=False,
            )
    if done.returncode != 0:
        where = f"; see {log}" if log is not None else ""
        raise SingleNodeError(f"`{' '.join(command[:4])} ...` failed with exit code {done.returncode}{where}.")


PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
IMAGES = (
    Image(PAUSE_IMAGE, "pause-3.10.tar", _fill_program("pause"), {"Entrypoint": ["/pause"], "User": "65535:65535"}),
    Image(COREDNS_IMAGE, f"coredns-v{COREDNS_VERSION}.tar", _fill_program("coredns"), {"Entrypoint": ["/coredns"]}),
    Image(
        RAY_IMAGE,
        f"ray-{RAY_VERSION}.tar",
        _fill_ray,
        # The user by number, as the official image: a name would not pass `runAsNonRoot`.
        {
            "User": "1000",
            "WorkingDir": "/home/ray",
            "Env": [PATH, "HOME=/home/ray", "LANG=C.UTF-8"],
            "Cmd": ["/bin/bash"],
        },
        "4 minutes",
    ),
    Image(
        REDIS_IMAGE,
        "redis-7.4.6.tar",
        _fill_redis,
        {"Entrypoint": ["docker-entrypoint.sh"], "WorkingDir": "/data", "Env": [PATH, "LANG=C.UTF-8"]},
        "1 minute",
    ),
)
