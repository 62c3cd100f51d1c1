"""`python -m ops`: see `--help`; each command is a Makefile target too."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from components.cluster.api import ClusterError
from components.errors import StackError
from ops import changes, engine

detailed_option = click.option(
    "--detailed-exitcode", is_flag=True, help="Exit with 0 no changes, 2 changes, 3 something goes away, 1 error."
)
stack_option = click.option("--stack", required=True, envvar="STACK", help="The stack, such as dev.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def ops() -> None:
    """What people and CI do around the engine: demo, tests, previews, proven destroys, manifests."""


@ops.command()
@click.option("--destroy", is_flag=True, help="Take the demo's stack and its throw-away cluster away again.")
def demo(destroy: bool) -> None:
    """Run the main job with what this machine has: a cluster and Pulumi, or the embedded local Ray."""
    from ops.demo import run, take_away

    sys.exit(take_away() if destroy else run())


@ops.command(context_settings={"ignore_unknown_options": True})
@click.option("--tier", "tiers", multiple=True, help="lint, unit, jobs, cluster or e2e; all of them by default.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def test(tiers: tuple[str, ...], arguments: tuple[str, ...]) -> None:
    """Run what this machine can run; ends with what was left out and why. ARGUMENTS go to pytest."""
    from ops.test import run

    sys.exit(run(list(tiers), list(arguments)))


@ops.command()
@stack_option
@click.option("--file", "path", type=click.Path(path_type=Path), help="Where to [default: outputs.STACK.json].")
def outputs(stack: str, path: Path | None) -> None:
    """Write the stack's outputs contract to a file, for people and CI without Pulumi.

    Read it with `rayjobs --outputs FILE`, the variable RAYJOBS_OUTPUTS, or from ~/.config/rayjobs/outputs.json.
    """
    contract = engine.stack_outputs(stack).get("contract")
    if not contract:
        raise click.ClickException(f"stack {stack} has no outputs yet: run `pulumi up --stack {stack}` first")
    target = path or engine.ROOT / f"outputs.{stack}.json"
    target.write_text(json.dumps(contract, indent=2) + "\n")
    click.echo(str(target))


@ops.command()
@stack_option
def up(stack: str) -> None:
    """`pulumi up` without questions, for CI; the engine's exit code."""
    sys.exit(engine.run(["up", "--yes", "--skip-preview"], stack=stack))


@ops.command()
@stack_option
@detailed_option
def preview(stack: str, detailed_exitcode: bool) -> None:
    """What `up` would do, and which jobs run there now. `make` has exit codes of its own: call this for details."""
    code, found = changes.observe(["preview", "--diff"], stack=stack)
    if code:
        sys.exit(changes.ERROR)
    click.echo(changes.summary(found), err=True)
    _running_jobs(stack)
    sys.exit(changes.exit_code(found) if detailed_exitcode else 0)


def _running_jobs(stack: str) -> None:
    from ops.running_jobs import report

    contract = engine.stack_outputs(stack).get("contract")
    if contract:
        report(contract)


@ops.command()
@stack_option
def drift(stack: str) -> None:
    """Does the cluster still agree with the stack? Exit code: 0 yes, 2 no, 1 error. Writes nothing."""
    code, found = changes.observe(["preview", "--refresh", "--diff"], stack=stack)
    if code:
        sys.exit(changes.ERROR)
    click.echo(changes.summary(found), err=True)
    sys.exit(changes.CHANGES if found else changes.NO_CHANGES)


@ops.command()
@stack_option
@click.option("--to", type=click.Path(path_type=Path), help="Folder, emptied first [default: rendered/STACK].")
def render(stack: str, to: Path | None) -> None:
    """The stack's manifests as files, without a cluster or a secret. Apply them with `kubectl apply --server-side`."""
    from ops.render import render as write

    folder = (to or engine.ROOT / "rendered" / stack).resolve()
    write(stack, folder)
    click.echo(str(folder))


@ops.command()
@stack_option
@click.option("--base", required=True, envvar="BASE", help="Git revision to compare with, such as origin/main.")
@click.option("--comment", type=click.Path(path_type=Path), help="Also write it as a comment for a pull request.")
@click.option(
    "--job-summary",
    type=click.Path(path_type=Path),
    envvar="GITHUB_STEP_SUMMARY",
    help="Also append that comment to this file; GitHub's job summary by default, which needs no right to write.",
)
@detailed_option
def diff(stack: str, base: str, comment: Path | None, job_summary: Path | None, detailed_exitcode: bool) -> None:
    """The stack's manifests here against those of BASE, without a cluster or a secret."""
    from ops.render import CannotRender, as_comment
    from ops.render import diff as compare

    def publish(code: int, text: str) -> None:
        if comment:
            comment.write_text(as_comment(stack, code, text))
        if job_summary:
            with job_summary.open("a") as file:
                file.write(as_comment(stack, code, text))

    try:
        code, text = compare(stack, base)
    except (CannotRender, engine.EngineFailed, StackError) as error:
        publish(changes.ERROR, str(error))  # a comment of an earlier push would be taken for this one's
        raise
    click.echo(text)
    publish(code, text)
    sys.exit(code if detailed_exitcode else 0)


@ops.command()
@stack_option
@click.option("--others", envvar="OTHERS", type=click.Choice(["refuse", "delete"]), default="refuse", show_default=True)
@click.option(
    "--jobs",
    envvar="JOBS",
    type=click.Choice(["refuse", "wait", "stop", "ignore"]),
    default="refuse",
    show_default=True,
)
def destroy(stack: str, others: str, jobs: str) -> None:
    """Destroy the stack and prove that nothing is left; exit code 0 only then.

    --others: RayClusters, RayJobs and RayServices that the stack did not make. --jobs: Ray jobs that still run. With
    make: `make destroy STACK=dev JOBS=stop`.
    """
    from ops.destroy import destroy as take_down

    sys.exit(take_down(stack, others=others, jobs=jobs))


@ops.command()
@stack_option
def inventory(stack: str) -> None:
    """Which of the stack's objects are on the cluster; exit code 2 where one is missing."""
    from ops import inventory as listing
    from ops.destroy import Refused, connect

    state = engine.stack_state(stack)
    try:
        found = listing.present(connect(state), listing.objects(state))
    except Refused as refused:
        raise click.ClickException(str(refused)) from refused
    there = {entry for entry, _ in found}
    for entry in listing.objects(state):
        click.echo(f"{'there' if entry in there else 'MISSING':8}{entry}")
    sys.exit(0 if len(there) == len(listing.objects(state)) else 2)


@ops.command()
@stack_option
def recover(stack: str) -> None:
    """After an `up` that was killed: release the lock and settle what was under way, so that `up` can go on."""
    from ops.destroy import Refused
    from ops.recover import recover as settle

    try:
        sys.exit(settle(stack))
    except Refused as refused:
        raise click.ClickException(str(refused)) from refused


@ops.group()
def manifests() -> None:
    """KubeRay's manifests: fetch a version, record its digest."""


@manifests.command()
@click.argument("version")
def fetch(version: str) -> None:
    """Bring VERSION, such as v1.7.0, into the cache and check its digest."""
    from components import errors
    from components.kuberay import source

    try:
        click.echo(str(source.resolve(version)))
    except errors.StackError as error:
        raise click.ClickException(str(error)) from error


@manifests.command()
@click.argument("version")
@click.option(
    "--source", "folder", type=click.Path(exists=True, path_type=Path), help="A tree on disk [default: fetch]."
)
def record(version: str, folder: Path | None) -> None:
    """Record VERSION's digest in the repository, after you have read what you are about to trust."""
    from components import errors
    from components.kuberay import source

    try:
        click.echo(source.record(version, folder))
    except errors.StackError as error:
        raise click.ClickException(str(error)) from error


def main() -> None:
    """Ends with 1 and one message for what went wrong with the engine or the cluster."""
    try:
        ops()
    except (engine.EngineMissing, engine.EngineFailed, ClusterError, StackError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
