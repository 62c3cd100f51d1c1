"""`make demo`: from an empty machine to a job's result. `make demo-destroy` removes it.

With a cluster and Pulumi: deploy the `dev` stack on a file backend, run the walkthrough's script as a job, print its
log and how to destroy the stack. Otherwise: say within seconds what is missing, and run the job on a local Ray.
The exit code is 0 only if the job succeeded. Without a terminal it asks no questions.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from components.errors import StackError
from components.kuberay import source
from components.settings.kuberay import UPSTREAM
from components.settings.versions import DEFAULT_KUBERAY_VERSION
from jobs import local_ray as local
from jobs.kubernetes.kubeconfig import KubeconfigRefused, kubeconfig_files, read_kubeconfig
from jobs.yaml_file import dump_yaml, parse_as_typed
from ops import engine, pulumi
from ops.destroy import destroy
from ops.errors import EngineFailed, EngineMissing, Unavailable

STACK = "dev"
DEMO = engine.ROOT / ".demo"
KIND_CLUSTER = "ray-on-kubernetes-demo"
SCRIPT_FOLDER = engine.ROOT / "examples" / "walkthrough"
SCRIPT = "script.py"


@click.command("demo")
@click.option("--destroy", "destroying", is_flag=True, help="Destroy the demo's stack and its throw-away cluster.")
def demo_command(destroying: bool) -> None:
    """Deploy with what this machine has and run a first job: on a cluster with Pulumi, otherwise on a local Ray."""
    sys.exit(remove() if destroying else run())


@dataclass(frozen=True)
class Cluster:
    """The cluster that the demo deploys to.

    Args:
        kubeconfig: Path of the kubeconfig; None for the usual one.
        context: Its context.
        throw_away: The demo created the cluster, and `make demo-destroy` deletes it.
    """

    kubeconfig: str | None
    context: str
    throw_away: bool = False


def run() -> int:
    """Runs the demo; returns 0 only if the job succeeded."""
    DEMO.mkdir(exist_ok=True)
    try:
        cluster = choose_cluster()
        click.echo(f"cluster: context {cluster.context}", err=True)
        ensure_engine()
        manifests = ensure_manifests()
    except Unavailable as missing:
        click.echo(f"left out: the deployment. {missing}\nrunning the job on a local Ray instead", err=True)
        code = submit_locally()
        click.echo(f"{outcome(code)} on a local Ray; nothing was deployed", err=True)
        return code
    outputs = deploy(cluster, manifests)
    settings = {"KUBECONFIG": cluster.kubeconfig} if cluster.kubeconfig else {}
    code = submit(["--outputs", str(outputs)], settings)
    click.echo(f"{outcome(code)} on {cluster.context}", err=True)
    target_option = f"--outputs {outputs.relative_to(engine.ROOT)}"
    click.echo(f"submit more: .venv/bin/python -m jobs submit {target_option} -- python -c 'print(1)'", err=True)
    click.echo("remove it:   make demo-destroy", err=True)
    return code


def remove() -> int:
    """Destroys the demo's stack, then the kind cluster if the demo created it."""
    record = DEMO / "cluster.json"
    if not record.is_file():
        click.echo("nothing to destroy: the demo has deployed nothing", err=True)
        return 0
    cluster = Cluster(**json.loads(record.read_text()))
    code = destroy(
        STACK, others="refuse", jobs="stop", environment=environment(cluster), config_file=DEMO / "Pulumi.dev.yaml"
    )
    if code == 0 and cluster.throw_away:
        code = subprocess.run(["kind", "delete", "cluster", "--name", KIND_CLUSTER], check=False).returncode
    if code == 0:
        shutil.rmtree(DEMO)
    return code


def current_context() -> str | None:
    """The kubeconfig's current context; None if there is no kubeconfig or no current context.

    Raises:
        Unavailable: A kubeconfig cannot be read. The message does not repeat its content, which holds credentials.
    """
    if not any(file.is_file() for file in kubeconfig_files(None)):
        return None
    try:
        config = read_kubeconfig(None, option="KUBECONFIG")
    except KubeconfigRefused as error:
        raise Unavailable(str(error)) from error
    return (config.current_context or None) if config else None


def choose_cluster() -> Cluster:
    """CONTEXT or KUBECONFIG if set, else the current context if the user agrees, else a throw-away kind cluster.

    Raises:
        Unavailable: There is no cluster and none can be created.
    """
    context, named = os.environ.get("CONTEXT"), os.environ.get("KUBECONFIG")
    if named and not any(Path(place).expanduser().is_file() for place in named.split(os.pathsep)):
        raise Unavailable(f"KUBECONFIG={named}: no such file")
    current = current_context()
    if context or (named and current):
        return Cluster(None, context or str(current))
    if current and _confirmed(f"Deploy Ray to the current context {current}?"):
        return Cluster(None, current)
    return _kind_cluster(current)


def _confirmed(question: str) -> bool:
    if not sys.stdin.isatty():
        return False
    return input(f"{question} [y/N] ").strip().lower() in {"y", "yes"}


def _kind_cluster(declined: str | None) -> Cluster:
    """The demo's own kind cluster, created if it does not exist."""
    hint = f" (to use the current context {declined}: CONTEXT={declined})" if declined else ""
    if shutil.which("kind") is None:
        raise Unavailable(f"no cluster: set KUBECONFIG or CONTEXT, or install kind and Docker{hint}")
    docker = shutil.which("docker")
    if docker is None or _exit_code([docker, "info"]):
        raise Unavailable(
            f"no cluster: set KUBECONFIG or CONTEXT; kind is installed but no Docker engine answers{hint}"
        )
    kubeconfig = DEMO / "kubeconfig"
    existing = subprocess.run(["kind", "get", "clusters"], capture_output=True, text=True, check=False).stdout.split()
    if KIND_CLUSTER not in existing:
        click.echo(f"creating a throw-away cluster: kind create cluster --name {KIND_CLUSTER}", err=True)
        command = [
            "kind",
            "create",
            "cluster",
            "--name",
            KIND_CLUSTER,
            "--wait",
            "120s",
            "--kubeconfig",
            str(kubeconfig),
        ]
        if subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode:
            raise Unavailable("kind could not create a cluster; its output is above")
    return Cluster(str(kubeconfig), f"kind-{KIND_CLUSTER}", throw_away=True)


def _exit_code(command: list[str]) -> int:
    try:
        return subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, timeout=10, check=False
        ).returncode
    except subprocess.TimeoutExpired:
        return 1


def ensure_engine() -> None:
    """Installs the Pulumi CLI and its plugins into the project if they are missing.

    Raises:
        Unavailable: They are missing and cannot be installed.
    """
    try:
        engine.find_cli()
    except EngineMissing as missing:
        click.echo(f"installing the Pulumi CLI {pulumi.VERSION} into {engine.OWN_INSTALLATION.name}/", err=True)
        try:
            pulumi.install()
        except Unavailable as error:
            raise Unavailable(f"{missing}, and it could not be installed: {error}") from error
    pulumi.install_plugins()


def ensure_manifests() -> str:
    """The value for `kuberay.source`: the directory in KUBERAY_SOURCE, otherwise upstream (cached or fetched).

    Raises:
        Unavailable: The manifests are not there.
    """
    named = os.environ.get("KUBERAY_SOURCE", UPSTREAM)
    try:
        source.resolve(DEFAULT_KUBERAY_VERSION, named)
    except StackError as error:
        raise Unavailable(f"KubeRay's manifests: {error} (or set KUBERAY_SOURCE=directory for the demo)") from error
    return named


def environment(cluster: Cluster) -> dict[str, str]:
    """Variables for the Pulumi CLI: a backend and a passphrase of the demo. The user's Pulumi login stays untouched."""
    state = DEMO / "state"
    state.mkdir(parents=True, exist_ok=True)
    settings = {"PULUMI_BACKEND_URL": f"file://{state}", "PULUMI_CONFIG_PASSPHRASE": "demo"}
    return {**settings, "KUBECONFIG": cluster.kubeconfig} if cluster.kubeconfig else settings


def deploy(cluster: Cluster, manifests: str) -> Path:
    """Deploys the dev stack and returns its outputs file.

    Raises:
        EngineFailed: `pulumi up` ended with an error; its output is above.
    """
    settings = environment(cluster)
    config_file = DEMO / f"Pulumi.{STACK}.yaml"
    if not config_file.is_file():
        content = parse_as_typed((engine.ROOT / config_file.name).read_text())
        content["config"][f"{engine.PROJECT}:kubeContext"] = cluster.context
        content["config"].setdefault(f"{engine.PROJECT}:kuberay", {})["source"] = manifests
        config_file.write_text(dump_yaml(content))
    if STACK not in {entry["name"] for entry in engine.stacks(environment=settings)}:
        engine.init_stack(STACK, settings)
    code = engine.run(
        ["up", "--yes", "--skip-preview", "--config-file", str(config_file)], stack=STACK, environment=settings
    )
    if code:
        raise EngineFailed("pulumi up", code)
    outputs = DEMO / "outputs.json"
    outputs.write_text(json.dumps(engine.stack_outputs(STACK, environment=settings)["contract"], indent=2))
    (DEMO / "cluster.json").write_text(json.dumps(cluster.__dict__))
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
