"""`make image`: the image of the keeper, built by docker, podman or buildah."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import click

from ops.errors import ImageFailed, Unavailable

ROOT = Path(__file__).resolve().parent.parent
BUILDERS = ("docker", "podman", "buildah")


@click.command("image")
@click.option("--name", metavar="NAME:TAG", help="Name of the image, with your registry [default: rayjobs:VERSION].")
def image_command(name: str | None) -> None:
    """Build the image of the keeper, and print its name.

    Push it to a registry that your nodes can pull from, then set `keeper.image` of the RayCluster.
    """
    name = name or f"rayjobs:{version()}"
    builder = find_builder()
    command = [builder, "build", "--file", str(ROOT / "image" / "Dockerfile"), "--tag", name, str(ROOT)]
    code = subprocess.run(command, stdout=sys.stderr, check=False).returncode
    if code:
        raise ImageFailed(f"`{' '.join(command)}` ended with {code}")
    click.echo(name)
    click.echo(f"push it: {builder} push {name}\nthen set `keeper: {{image: {name}}}` of a RayCluster", err=True)


def version() -> str:
    """The version of rayjobs, as pyproject.toml has it."""
    (found,) = re.findall(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.M)
    return str(found)


def find_builder() -> str:
    """Returns the first program that can build images here. Raises Unavailable with what is missing."""
    reasons = []
    for name in BUILDERS:
        if shutil.which(name) is None:
            reasons.append(f"{name} is not on PATH")
            continue
        # It succeeds if the program can build here.
        done = subprocess.run([name, "info"], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return name
        lines = done.stderr.strip().splitlines()
        reasons.append(f"`{name} info` fails: {lines[-1] if lines else f'exit code {done.returncode}'}")
    raise Unavailable(
        f"no program can build the image: {'; '.join(reasons)}. Install docker, podman or buildah, or start the daemon "
        "of docker"
    )
