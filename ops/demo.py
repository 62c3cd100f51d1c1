"""`make demo`: from an empty machine to a job's result on Kubernetes. `make demo-destroy` removes it.

Deploys the `dev` stack on a file backend, runs the walkthrough's script as a job, and prints its log and how to go on.
Where the cluster or the engine have to be built first, or cannot be had, a job runs on a local Ray first. The exit code
is 0 only if the job succeeded. Without a terminal it asks no questions.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click

from components.errors import StackError
from components.kuberay import source
from components.settings.kuberay import UPSTREAM
from components.settings.versions import DEFAULT_KUBERAY_VERSION, DEFAULT_RAY_VERSION
from jobs import local_ray as local
from jobs.yaml_file import dump_yaml, parse_as_typed
from ops import demo_cluster, engine, pulumi
from ops.demo_cluster import DEMO, Cluster
from ops.destroy import destroy
from ops.errors import EngineFailed, EngineMissing, Unavailable
from single_node.errors import SingleNodeError
from single_node.programs import engine as module_engine
from single_node.programs.go import go_problem

STACK = "dev"
SCRIPT_FOLDER = engine.ROOT / "examples" / "walkthrough"
SCRIPT = "script.py"


@click.command("demo")
@click.option("--destroy", "destroying", is_flag=True, help="Destroy the demo's stack and its throw-away cluster.")
def demo_command(destroying: bool) -> None:
    """Deploy to a cluster and run a first job. What this machine lacks is installed or built, after a question."""
    sys.exit(remove() if destroying else run())


def run() -> int:
    """Runs the demo; returns 0 only if the job succeeded."""
    local_job = functools.cache(submit_locally)  # once, whoever asks for it first
    try:
        cluster = demo_cluster.choose_cluster()
        slow = demo_cluster.slow_parts(cluster)
        if slow:
            ask_to_build(slow)
            local_job()
        prepare(cluster, local_job)
    except Unavailable as missing:
        click.echo(f"left out: the deployment. {missing}", err=True)
        code = local_job()
        click.echo(f"{outcome(code)} on a local Ray; nothing was deployed", err=True)
        return code
    version = demo_cluster.kuberay_version(cluster)
    outputs = deploy(cluster, version, ensure_manifests(version))
    settings = {"KUBECONFIG": cluster.kubeconfig} if cluster.kubeconfig else {}
    code = submit(["--outputs", str(outputs)], settings)
    click.echo("\n".join(summary(cluster, version, code)), err=True)
    target_option = f"--outputs {outputs.relative_to(engine.ROOT)}"
    kubeconfig = f"KUBECONFIG={cluster.kubeconfig} " if cluster.kubeconfig else ""
    click.echo(
        f"submit more: {kubeconfig}.venv/bin/python -m jobs submit {target_option} -- python -c 'print(1)'", err=True
    )
    click.echo("remove it:   make demo-destroy", err=True)
    return code


def summary(cluster: Cluster, version: str, code: int) -> list[str]:
    """Three lines: what ran where, with which versions, and what of the defaults was off."""
    off = "nothing" if demo_cluster.has_tokens(version) else f"token authentication (KubeRay {version} has none)"
    place = f"{cluster.context}{f' ({cluster.kind})' if cluster.kind else ''}"
    return [
        f"\n{outcome(code)} on the RayCluster of stack {STACK}, Kubernetes context {place}",
        f"versions: Pulumi {engine.version()}, Kubernetes provider {engine.provider_version()}, KubeRay {version}, "
        f"Ray {DEFAULT_RAY_VERSION}",
        f"off, of the defaults: {off}",
    ]


def remove() -> int:
    """Destroys the demo's stack, then the cluster if the demo created it."""
    cluster = demo_cluster.saved()
    if cluster is None:
        click.echo("nothing to destroy: the demo has deployed nothing", err=True)
        return 0
    code = 0
    if (DEMO / "outputs.json").is_file() or STACK in _stacks(cluster):
        code = destroy(
            STACK, others="refuse", jobs="stop", environment=environment(cluster), config_file=DEMO / "Pulumi.dev.yaml"
        )
    if code == 0:
        code = demo_cluster.stop(cluster)
    if code == 0:
        shutil.rmtree(DEMO)
    return code


def ask_to_build(parts: list[str]) -> None:
    """Says what is built and how long that takes, and asks at a terminal. Raises Unavailable for a no."""
    click.echo(f"These parts are built first, once, and cached: {', '.join(parts)}.", err=True)
    if sys.stdin.isatty() and not demo_cluster.confirmed("Build them? A job on a local Ray runs before."):
        raise Unavailable("nothing is built; set KUBECONFIG or CONTEXT to use another cluster")


def prepare(cluster: Cluster, before_build: Callable[[], object]) -> None:
    """Has the engine and the cluster ready.

    Args:
        cluster: The cluster.
        before_build: Called before the engine is built, which takes long.

    Raises:
        Unavailable: One of them cannot be had; the message says why.
    """
    # Before the start: `make demo-destroy` removes also what a killed demo has begun.
    cluster.save()
    ensure_engine(before_build)
    demo_cluster.start(cluster)
    click.echo(f"cluster: context {cluster.context}", err=True)


def ensure_engine(before_build: Callable[[], object]) -> None:
    """Installs the Pulumi CLI and its plugins into the project if they are missing, or builds them from Go modules.

    Raises:
        Unavailable: They are missing, and can be had in neither way.
    """
    try:
        engine.find_engine()
        return
    except EngineMissing:
        click.echo(f"installing the Pulumi CLI {pulumi.VERSION} into {engine.OWN_INSTALLATION.name}/", err=True)
    try:
        pulumi.install()
        pulumi.install_plugins()
        return
    except Unavailable as error:
        not_installed = error
    # A CLI without its plugins would be found before the one that is built.
    shutil.rmtree(engine.OWN_INSTALLATION, ignore_errors=True)
    if problem := go_problem(module_engine.PULUMI_GO):
        raise Unavailable(f"the engine: {not_installed}; from Go modules it cannot be built: {problem}")
    click.echo(f"{not_installed}", err=True)
    ask_to_build(["Pulumi's engine from Go modules (10 to 20 minutes)"])
    before_build()
    try:
        module_engine.build()
    except SingleNodeError as error:
        raise Unavailable(f"the engine: {error}") from error


def ensure_manifests(version: str) -> str:
    """The value for `kuberay.source`: the directory in KUBERAY_SOURCE, otherwise upstream (cached or fetched).

    Raises:
        Unavailable: The manifests are not there.
    """
    named = os.environ.get("KUBERAY_SOURCE", UPSTREAM)
    try:
        source.resolve(version, named)
    except StackError as error:
        raise Unavailable(f"KubeRay's manifests: {error} (or set KUBERAY_SOURCE=directory for the demo)") from error
    return named


def environment(cluster: Cluster) -> dict[str, str]:
    """Variables for the Pulumi CLI: a backend and a passphrase of the demo. The user's Pulumi login stays untouched."""
    state = DEMO / "state"
    state.mkdir(parents=True, exist_ok=True)
    settings = {"PULUMI_BACKEND_URL": f"file://{state}", "PULUMI_CONFIG_PASSPHRASE": "demo"}
    return {**settings, "KUBECONFIG": cluster.kubeconfig} if cluster.kubeconfig else settings


def _stacks(cluster: Cluster) -> set[str]:
    try:
        return {entry["name"] for entry in engine.stacks(environment=environment(cluster))}
    except (EngineMissing, EngineFailed):
        return set()


def stack_file(context: str, version: str, manifests: str) -> str:
    """The demo's stack file: that of `dev`, with this cluster, version and source, without what the version lacks."""
    content = parse_as_typed((engine.ROOT / f"Pulumi.{STACK}.yaml").read_text())
    config = content["config"]
    config[f"{engine.PROJECT}:kubeContext"] = context
    kuberay = config.setdefault(f"{engine.PROJECT}:kuberay", {})
    kuberay["source"] = manifests
    if version != DEFAULT_KUBERAY_VERSION:
        kuberay["version"] = version
    if not demo_cluster.has_tokens(version):
        for ray in config[f"{engine.PROJECT}:clusters"]:
            ray["auth"] = "disabled"
    return dump_yaml(content)


def deploy(cluster: Cluster, version: str, manifests: str) -> Path:
    """Deploys the dev stack and returns its outputs file.

    Raises:
        EngineFailed: `pulumi up` ended with an error; its output is above.
    """
    settings = environment(cluster)
    config_file = DEMO / f"Pulumi.{STACK}.yaml"
    if not config_file.is_file():
        config_file.write_text(stack_file(cluster.context, version, manifests))
    if STACK not in {entry["name"] for entry in engine.stacks(environment=settings)}:
        engine.init_stack(STACK, settings)
    code = engine.run(
        ["up", "--yes", "--skip-preview", "--config-file", str(config_file)], stack=STACK, environment=settings
    )
    if code:
        raise EngineFailed("pulumi up", code)
    outputs = DEMO / "outputs.json"
    outputs.write_text(json.dumps(engine.stack_outputs(STACK, environment=settings)["contract"], indent=2))
    return outputs


def submit(target: list[str], settings: dict[str, str]) -> int:
    """Submits the walkthrough's script as a job and prints its log; returns the job's exit code."""
    command = ["jobs", "submit", *target, "--working-dir", str(SCRIPT_FOLDER), "--", "python", SCRIPT]
    click.echo(f"\n$ python -m {' '.join(command)}", err=True)
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=engine.ROOT,
        env={**os.environ, **settings},
        stdin=subprocess.DEVNULL,
        check=False,
    ).returncode


def submit_locally() -> int:
    """Runs the job on a local Ray, which is stopped afterwards unless it ran before."""
    running_before = asyncio.run(local.find())
    code = submit(["--local"], {})
    if running_before is None:
        asyncio.run(local.stop())
    return code


def outcome(code: int) -> str:
    """The end of the job in words."""
    return "the job succeeded" if code == 0 else f"the job ended with {code}"
