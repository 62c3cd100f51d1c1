"""`make cluster`, `make cluster-down`: a single-node Kubernetes on this machine, without Docker."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from single_node import cluster, images, keeper, node, requirements
from single_node.cache import cache_root
from single_node.errors import SingleNodeError
from single_node.programs import kubernetes

state_option = click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="Directory of the running cluster [default: in the cache].",
)


@click.group("cluster", no_args_is_help=True)
def cluster_command() -> None:
    """Run a single-node Kubernetes on this Linux machine, without Docker.

    It needs root. Its programs are built from Go modules, once; then a start takes about 15 seconds. One cluster runs
    at a time, in a network of its own: only this machine reaches it.
    """


@cluster_command.command("up")
@state_option
def up_command(state: Path | None) -> None:
    """Start the cluster, build what is missing, and print the path of its kubeconfig."""
    kubeconfig = cluster.up(_absolute(state))
    click.echo(kubeconfig)
    click.echo(f"use it:  export KUBECONFIG={kubeconfig}\nstop it: make cluster-down", err=True)


@cluster_command.command("down")
@state_option
def down_command(state: Path | None) -> None:
    """Stop the cluster. Its logs and the cache stay."""
    cluster.down(_absolute(state))


@cluster_command.command("keeper-image")
def keeper_image_command() -> None:
    """Make the image of the keeper from this checkout, and print its name for `keeper.image`.

    A cluster that runs gets it at once, another one when it starts. Needs no Docker and no registry.
    """
    name = keeper.build(Path(__file__).resolve().parent.parent)
    if state := cluster.running_state():
        cluster.import_images(state)
    click.echo(name)


@cluster_command.command("kubeconfig")
@state_option
def kubeconfig_command(state: Path | None) -> None:
    """Print the path of the running cluster's kubeconfig."""
    path = _absolute(state) / "kubeconfig"
    if not path.exists():
        raise SingleNodeError(f"There is no cluster in {path.parent}. Start one: make cluster")
    click.echo(path)


@cluster_command.command("status")
@state_option
def status_command(state: Path | None) -> None:
    """Show what runs, what is cached, and what this machine lacks. Exit code 1: no healthy cluster runs."""
    place = _absolute(state)
    healthy = cluster.healthy(place)
    processes = node.running(place)
    health = "healthy" if healthy else "not healthy" if processes else "not running"
    _line("cluster", f"{health} (Kubernetes {_version()})")
    for name, pid in processes.items():
        click.echo(f"  {name}: {f'pid {pid}' if pid else 'gone'}")
    if healthy:
        _line("kubeconfig", str(place / "kubeconfig"))
    else:
        _line("start it", "make cluster")
    _line("cache", str(cache_root()))
    for archive in sorted(images.images_dir().glob("*.tar")):
        click.echo(f"  image {archive.stem}, {archive.stat().st_size >> 20} MB")
    for label, names in (
        ("to build", kubernetes.missing_programs()),
        ("to make", images.missing_images()),
        ("to install", requirements.missing_packages()),
        ("not possible", requirements.problems()),
    ):
        if names:
            _line(label, ", ".join(names))
    sys.exit(0 if healthy else 1)


def _line(label: str, text: str) -> None:
    click.echo(f"{label + ':':<14}{text}")


def _version() -> str:
    return f"v{kubernetes.KUBERNETES_VERSION}"


def _absolute(state: Path | None) -> Path:
    return state.absolute() if state else cluster.running_state() or cluster.default_state()
