"""`python -m ops manifests`: KubeRay's manifests, the files that the stack is built from."""

from __future__ import annotations

from pathlib import Path

import click

from components.kuberay import crds, source
from components.settings.kuberay import UPSTREAM


@click.group("manifests")
def manifests_command() -> None:
    """Fetch KubeRay's manifests and record their digests."""


@manifests_command.command()
@click.argument("version")
def fetch(version: str) -> None:
    """Fetch VERSION, such as v1.7.0, into the cache and check its digest."""
    click.echo(str(source.resolve(version)))


@manifests_command.command()
@click.argument("version")
@click.option(
    "--source", "folder", type=click.Path(exists=True, path_type=Path), help="Folder to read [default: fetch it]."
)
def record(version: str, folder: Path | None) -> None:
    """Record the digest of VERSION in the repository. Read the manifests first: the stack will trust them."""
    click.echo(source.record(version, folder))
    crds.record(source.resolve(version, str(folder) if folder else UPSTREAM))
