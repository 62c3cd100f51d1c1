"""`make pulumi`: one version of the Pulumi CLI, checked against its checksum, in the project's folder `.pulumi/`.

The one place that says which Pulumi CLI the workflows and the demo use. Its archive is downloaded directly: Pulumi's
installer script checks nothing, and runs whatever its host serves.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import platform
import shutil
import subprocess
import tarfile
import tempfile
import urllib.request
from pathlib import Path

import click

from ops import engine
from ops.errors import EngineMissing, Unavailable

VERSION = "3.259.0"
# SHA-256 of each platform's archive, as Pulumi's own Homebrew formula of this version has them
# (github.com/pulumi/homebrew-tap, Formula/pulumi.rb); they are also in the release's pulumi-VERSION-checksums.txt.
CHECKSUMS = {
    "darwin-arm64": "57c27f179e527e2cf9f62b841a448af72a020e44b2fb4ee0d9bd85556c00c864",
    "darwin-x64": "eaca4c3b8277bfa3ab061fa3b270d1c66358a0b2e613da8c5587a04b7226c534",
    "linux-arm64": "edc8327463a72160bb36cf82cf5062da9c8a244290a706d9980988e7bf486853",
    "linux-x64": "94ba357acac23d01474084c4b00098dc0f7bc70ce13f34c777459254a5f718e5",
}
RELEASES = "https://github.com/pulumi/pulumi/releases/download"
INSTALL_YOURSELF = "install it yourself and put it on PATH: https://www.pulumi.com/docs/install/"
# Of silence, not of the whole download.
TIMEOUT_SECONDS = 10
# The archives have about 200 MB.
SIZE_LIMIT_BYTES = 1_000_000_000
MACHINES = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}


@click.command("pulumi")
def pulumi_command() -> None:
    """Install the Pulumi CLI that the workflows use, and its plugins. The CLI is checked against its checksum."""
    if installed_version() != VERSION:
        install()
    click.echo(f"Pulumi CLI {VERSION} in {engine.OWN_INSTALLATION}", err=True)
    install_plugins()


def installed_version() -> str | None:
    """The version of the CLI in the project's folder; None if there is none."""
    program = engine.OWN_INSTALLATION / "bin" / "pulumi"
    if not program.is_file():
        return None
    done = subprocess.run([str(program), "version"], capture_output=True, text=True, check=False)
    return done.stdout.strip().removeprefix("v") or None


def install() -> None:
    """Downloads the Pulumi CLI, checks it, and replaces the one in the project's folder, if there is one.

    Raises:
        Unavailable: No checksum is recorded for this platform, the download failed, or the archive is not the one that
            was recorded. Nothing of it was run or kept.
    """
    system, machine = platform.system().lower(), platform.machine().lower()
    name = f"{system}-{MACHINES.get(machine, machine)}"
    if name not in CHECKSUMS:
        raise Unavailable(f"no checksum of the Pulumi CLI {VERSION} for {name} is recorded here; {INSTALL_YOURSELF}")
    url = f"{RELEASES}/v{VERSION}/pulumi-v{VERSION}-{name}.tar.gz"
    engine.OWN_INSTALLATION.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=engine.OWN_INSTALLATION, prefix="download-") as scratch:
        archive = Path(scratch) / "pulumi.tar.gz"
        digest = _download(url, archive)
        if digest != CHECKSUMS[name]:
            raise Unavailable(
                f"{url} is not the archive whose checksum is recorded here, and was not used.\n"
                f"  recorded SHA-256: {CHECKSUMS[name]}\n  downloaded:       {digest}\n"
                f"Try again; if it stays so, somebody changed the archive: {INSTALL_YOURSELF}"
            )
        _replace(archive, Path(scratch) / "tree")


def _download(url: str, to: Path) -> str:
    """Writes the file at `url` to `to` and returns its SHA-256. Raises Unavailable."""
    total, digest = 0, hashlib.sha256()
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response, to.open("wb") as file:
            expected = int(response.headers.get("Content-Length") or 0)
            while block := response.read(1 << 20):
                total += len(block)
                if total > SIZE_LIMIT_BYTES:
                    raise Unavailable(f"{url} has more than {SIZE_LIMIT_BYTES} bytes; {INSTALL_YOURSELF}")
                digest.update(block)
                file.write(block)
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"could not download {url} ({error}); {INSTALL_YOURSELF}") from error
    if total < expected:
        raise Unavailable(f"the download of {url} ended after {total} of {expected} bytes; try again")
    return digest.hexdigest()


def _replace(archive: Path, tree: Path) -> None:
    """Unpacks the archive to `tree`, and puts its programs into place."""
    with tarfile.open(archive) as content:
        # An attribute and not an argument: Python before 3.10.12 and 3.11.4, such as Debian's, has no filters.
        content.extraction_filter = getattr(tarfile, "data_filter", None)
        content.extractall(tree)
    programs = engine.OWN_INSTALLATION / "bin"
    shutil.rmtree(programs, ignore_errors=True)
    os.replace(tree / "pulumi", programs)


def install_plugins() -> None:
    """Lets the CLI install its plugins, if one is missing. Their versions are those of the locked Python packages.

    Raises:
        Unavailable: They are missing and cannot be installed.
    """
    try:
        engine.find_engine()
    except EngineMissing:
        # Without --no-dependencies it would install the packages of requirements.txt, unlocked.
        if engine.run(["install", "--no-dependencies"], stack=None):
            raise Unavailable("the Pulumi CLI could not install its plugins; its output is above") from None
