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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import click

from components.errors import StackError
from components.kuberay import source
from components.settings.kuberay import UPSTREAM
from components.settings.versions import DEFAULT_KUBERAY_VERSION, DEFAULT_RAY_VERSION
from jobs import local_ray as local
from jobs.yaml_file import dump_yaml, parse_as_typed
from ops import demo_cluster, engine, pulumi
from ops.demo_cluster import DEMO, STACK, Cluster, stack_file
from ops.destroy import destroy
from ops.errors import EngineMissing, OpsError, Unavailable
from ops.recover import recover
from ops.stack_objects import IDENTITY_TYPE
from single_node.cache import cache_root, write_atomically
from single_node.errors import SingleNodeError
from single_node.programs import engine as module_engine
from single_node.programs.go import go_problem

SCRIPT_FOLDER = engine.ROOT / "examples" / "walkthrough"
SCRIPT = "script.py"
ENGINE_PART = "Pulumi's engine from Go modules (10 to 20 minutes)"


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
        version, manifests, cluster = prepare(cluster, local_job)
    except Unavailable as missing:
        click.echo(f"left out: the deployment. {missing}", err=True)
        demo_cluster.forget_unused()
        code = local_job()
        click.echo(f"{outcome(code)} on a local Ray; nothing was deployed", err=True)
        return code
    outputs = deploy(cluster, version, manifests)
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
    if not demo_cluster.exists(cluster):
        click.echo(
            "no stack to destroy: nothing was deployed, or its cluster is gone with all that was there", err=True
        )
    elif has_stack(settings := environment(cluster)):
        if has_dead_lock():
            recover(STACK, environment=settings, config_file=stack_file())
        # Without its identity the state has nothing on a cluster: `up` failed before.
        if any(resource["type"] == IDENTITY_TYPE for resource in engine.stack_state(STACK, environment=settings)):
            code = destroy(STACK, others="refuse", jobs="stop", environment=settings, config_file=stack_file())
    if code == 0:
        code = demo_cluster.stop(cluster)
    if code == 0:
        shutil.rmtree(DEMO)
        click.echo("the demo is removed", err=True)
    return code


def ask_to_build(parts: list[str]) -> None:
    """Says what is built and how long that takes, and asks at a terminal. Raises Unavailable for a no."""
    click.echo(f"These parts are built first, once, and cached in {cache_root()}: {', '.join(parts)}.", err=True)
    if sys.stdin.isatty() and not demo_cluster.confirmed("Build them? A job on a local Ray runs before."):
        raise Unavailable("nothing is built; set KUBECONFIG or CONTEXT to use another cluster")


def prepare(cluster: Cluster, local_job: Callable[[], object]) -> tuple[str, str, Cluster]:
    """Has everything ready for the deployment. What takes seconds comes before what takes minutes.

    Args:
        cluster: The cluster.
        local_job: Runs a job on a local Ray. Called before something is built.

    Returns:
        KubeRay's version, where its manifests are, and the cluster that runs now.

    Raises:
        Unavailable: Something cannot be had; the message says why.
    """
    previous = demo_cluster.saved()
    if previous and not (previous.same_place(cluster) and demo_cluster.exists(previous)):
        forget_deployment()
    # Before the start: `make demo-destroy` removes also what a killed demo has begun.
    cluster.save()
    deployed = deployed_version()
    versions = [deployed] if deployed else demo_cluster.kuberay_versions(cluster)
    slow = demo_cluster.slow_parts(cluster, versions[0])

    def before_engine_build() -> None:
        if not slow:
            ask_to_build([ENGINE_PART])
        local_job()

    if slow:
        ask_to_build([*slow, *([] if engine_is_here() else [f"if it cannot be installed, {ENGINE_PART}"])])
        local_job()
    demo_cluster.install_packages(cluster)
    version, manifests = find_manifests(versions)
    ensure_engine(before_engine_build)
    demo_cluster.start(cluster, version)
    identity = demo_cluster.kubeconfig_digest(cluster)
    if identity != cluster.identity:
        forget_deployment()
    cluster = replace(cluster, identity=identity)
    cluster.save()
    click.echo(f"cluster: context {cluster.context}", err=True)
    return version, manifests, cluster


def forget_deployment() -> None:
    """Removes the state of a deployment whose cluster is gone, and with it all that was deployed."""
    shutil.rmtree(DEMO / "state", ignore_errors=True)
    for file in (stack_file(), DEMO / "outputs.json"):
        file.unlink(missing_ok=True)


def engine_is_here() -> bool:
    """Whether the Pulumi CLI and its plugins are here."""
    try:
        engine.find_engine()
    except EngineMissing:
        return False
    return True


def ensure_engine(before_build: Callable[[], object]) -> None:
    """Installs the Pulumi CLI and its plugins if they are missing, or builds them from Go modules.

    Args:
        before_build: Called before the engine is built, which takes long.

    Raises:
        Unavailable: They are missing, and can be had in neither way.
    """
    if engine_is_here():
        return
    own_before = engine.OWN_INSTALLATION.exists()
    try:
        _install_engine()
        return
    except Unavailable as error:
        not_installed = error
    if not own_before:
        # A CLI without its plugins would be found before the one that is built.
        shutil.rmtree(engine.OWN_INSTALLATION, ignore_errors=True)
    if problem := go_problem(module_engine.PULUMI_GO):
        raise Unavailable(f"the engine: {not_installed}; from Go modules it cannot be built: {problem}")
    click.echo(f"{not_installed}", err=True)
    before_build()
    try:
        module_engine.build()
    except (SingleNodeError, OSError) as error:
        raise Unavailable(f"the engine: {error}") from error


def _install_engine() -> None:
    """Installs what is missing: the CLI into the project, or the plugins of the CLI that is here."""
    try:
        engine.find_cli()
    except EngineMissing:
        click.echo(f"installing the Pulumi CLI {pulumi.VERSION} into {engine.OWN_INSTALLATION.name}/", err=True)
        pulumi.install()
    pulumi.install_plugins()


def find_manifests(versions: Sequence[str]) -> tuple[str, str]:
    """The first of some versions whose manifests can be had, and the value for `kuberay.source`.

    They come from the directory in KUBERAY_SOURCE, otherwise from upstream (cached or fetched).

    Raises:
        Unavailable: There are manifests of none; the message is that of the first.
    """
    named = os.environ.get("KUBERAY_SOURCE", UPSTREAM)
    errors = []
    for version in versions:
        try:
            source.resolve(version, named)
        except StackError as error:
            errors.append(error)
        else:
            if errors:
                click.echo(f"KubeRay {version} is used: there are no manifests of {versions[0]}. {errors[0]}", err=True)
            return version, named
    raise Unavailable(f"KubeRay's manifests: {errors[0]} For the demo, set KUBERAY_SOURCE to that directory.")


def environment(cluster: Cluster) -> dict[str, str]:
    """Variables for the Pulumi CLI: a backend and a passphrase of the demo. The user's Pulumi login stays untouched."""
    state = DEMO / "state"
    state.mkdir(parents=True, exist_ok=True)
    settings = {"PULUMI_BACKEND_URL": f"file://{state}", "PULUMI_CONFIG_PASSPHRASE": "demo"}
    return {**settings, "KUBECONFIG": cluster.kubeconfig} if cluster.kubeconfig else settings


def stack_content(context: str, version: str, manifests: str) -> str:
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


def deployed_version() -> str | None:
    """KubeRay's version in the stack file of an earlier demo, which later ones keep; None: there is none."""
    if not stack_file().is_file():
        return None
    config = parse_as_typed(stack_file().read_text())["config"]
    return str(config[f"{engine.PROJECT}:kuberay"].get("version", DEFAULT_KUBERAY_VERSION))


def has_stack(settings: Mapping[str, str]) -> bool:
    """Whether the demo's backend has the stack."""
    return STACK in {entry["name"] for entry in engine.stacks(environment=settings)}


def has_dead_lock() -> bool:
    """Whether the stack is locked by a Pulumi CLI that was killed."""
    locks = [json.loads(file.read_text()) for file in (DEMO / "state" / ".pulumi" / "locks").rglob("*.json")]
    return any(not _is_alive(lock["pid"]) for lock in locks)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def deploy(cluster: Cluster, version: str, manifests: str) -> Path:
    """Deploys the dev stack and returns its outputs file.

    Raises:
        OpsError: `pulumi up` ended with an error; its output is above.
    """
    settings = environment(cluster)
    if not stack_file().is_file():
        write_atomically(stack_file(), stack_content(cluster.context, version, manifests))
    if not has_stack(settings):
        engine.init_stack(STACK, settings)
    if has_dead_lock():
        click.echo("the last `pulumi up` was killed; completing its state", err=True)
        recover(STACK, environment=settings, config_file=stack_file())
    code = engine.run(
        ["up", "--yes", "--skip-preview", "--config-file", str(stack_file())], stack=STACK, environment=settings
    )
    if code:
        raise OpsError(
            f"`pulumi up` ended with {code}; the reason is above. `make demo` continues from here, `make demo-destroy` "
            "removes what was deployed"
        )
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
