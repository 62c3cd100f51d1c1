"""`make demo`: the main job from an empty machine to a job's result, with what the machine has.

A cluster and Pulumi: the `dev` stack on a file backend, the walkthrough's script as a job, its logs, how to destroy.
Without one of them: which and why, within seconds, and the job half on the embedded local Ray. It ends with 0 only for
what really ran, and asks nothing without a terminal.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import yaml

from components.errors import StackError
from components.kuberay import source
from components.settings.kuberay import UPSTREAM
from components.settings.versions import DEFAULT_KUBERAY_VERSION
from jobs import local_ray as local
from ops import engine

STACK = "dev"
DEMO = engine.ROOT / ".demo"
KIND_CLUSTER = "ray-on-kubernetes-demo"
INSTALLER = "https://get.pulumi.com"
SCRIPT_FOLDER = engine.ROOT / "examples" / "walkthrough"
SCRIPT = "script.py"


class Unavailable(Exception):
    """This machine lacks something; the message says what and how to get it."""


@dataclass(frozen=True)
class Cluster:
    """`throw_away`: made by the demo, and gone with `make demo-destroy`."""

    kubeconfig: str | None
    context: str
    throw_away: bool = False


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def current_context(kubeconfig: str | None) -> str | None:
    """The kubeconfig's current context; None where there is no kubeconfig or it names none."""
    places = [kubeconfig] if kubeconfig else os.environ.get("KUBECONFIG", "~/.kube/config").split(os.pathsep)
    for place in places:
        file = Path(place).expanduser()
        if file.is_file():
            content = yaml.safe_load(file.read_text()) or {}
            if content.get("current-context"):
                return str(content["current-context"])
    return None


def choose_cluster() -> Cluster:
    """CONTEXT or KUBECONFIG where set, else the current context after asking, else a throw-away kind cluster."""
    context, named = os.environ.get("CONTEXT"), os.environ.get("KUBECONFIG")
    if named and not any(Path(place).expanduser().is_file() for place in named.split(os.pathsep)):
        raise Unavailable(f"KUBECONFIG={named}: no such file")
    found = current_context(None)
    if context or (named and found):
        return Cluster(None, context or str(found))
    if found and _agreed(f"Deploy Ray to the current context {found}?"):
        return Cluster(None, found)
    return _kind(found)


def _agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        return False
    return input(f"{question} [y/N] ").strip().lower() in {"y", "yes"}


def _kind(refused: str | None) -> Cluster:
    hint = f" (the current context {refused} is used with CONTEXT={refused})" if refused else ""
    if shutil.which("kind") is None:
        raise Unavailable(f"no cluster: set KUBECONFIG or CONTEXT, or install kind and Docker{hint}")
    docker = shutil.which("docker")
    if docker is None or _silent([docker, "info"]):
        raise Unavailable(f"no cluster: set KUBECONFIG or CONTEXT; kind is here but no Docker engine answers{hint}")
    kubeconfig = DEMO / "kubeconfig"
    existing = subprocess.run(["kind", "get", "clusters"], capture_output=True, text=True, check=False).stdout.split()
    if KIND_CLUSTER not in existing:
        say(f"making a throw-away cluster: kind create cluster --name {KIND_CLUSTER}")
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
            raise Unavailable("kind could not make a cluster; its own words are above")
    return Cluster(str(kubeconfig), f"kind-{KIND_CLUSTER}", throw_away=True)


def _silent(command: list[str]) -> int:
    try:
        return subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, timeout=10, check=False
        ).returncode
    except subprocess.TimeoutExpired:
        return 1


def ensure_engine() -> None:
    """The Pulumi CLI and its plugins, installed into the project's folder by the official installer where missing."""
    try:
        engine.find_cli()
    except engine.EngineMissing as missing:
        try:
            with urllib.request.urlopen(f"{INSTALLER}/latest-version", timeout=4):
                pass
        except OSError as error:
            raise Unavailable(f"{missing}; its installer cannot be reached either ({error})") from missing
        say(f"installing the Pulumi CLI into {engine.OWN_INSTALLATION.name}/ with the official installer")
        from pulumi.automation import PulumiCommand

        PulumiCommand.install(root=str(engine.OWN_INSTALLATION))
    try:
        engine.find_engine()
    except engine.EngineMissing:
        if engine.run(["install"], stack=None):
            raise Unavailable("the Pulumi CLI could not install its plugins; its own words are above") from None


def ensure_manifests() -> str:
    """The value for `kuberay.source`: upstream (cached or fetched), or the directory in KUBERAY_SOURCE."""
    named = os.environ.get("KUBERAY_SOURCE", UPSTREAM)
    try:
        source.resolve(DEFAULT_KUBERAY_VERSION, named)
    except StackError as error:
        raise Unavailable(f"KubeRay's manifests: {error} (KUBERAY_SOURCE=directory does it for the demo)") from error
    return named


def environment(cluster: Cluster) -> dict[str, str]:
    """The demo's own backend and passphrase: nothing of the person's Pulumi login is used or changed."""
    state = DEMO / "state"
    state.mkdir(parents=True, exist_ok=True)
    settings = {"PULUMI_BACKEND_URL": f"file://{state}", "PULUMI_CONFIG_PASSPHRASE": "demo"}
    return {**settings, "KUBECONFIG": cluster.kubeconfig} if cluster.kubeconfig else settings


def deploy(cluster: Cluster, manifests: str) -> Path:
    """`pulumi up` of the dev stack; returns the file with its outputs. Raises EngineFailed."""
    settings = environment(cluster)
    config_file = DEMO / f"Pulumi.{STACK}.yaml"
    if not config_file.is_file():
        content = yaml.safe_load((engine.ROOT / config_file.name).read_text())
        content["config"][f"{engine.PROJECT}:kubeContext"] = cluster.context
        content["config"].setdefault(f"{engine.PROJECT}:kuberay", {})["source"] = manifests
        config_file.write_text(yaml.safe_dump(content))
    listed = {entry["name"] for entry in engine.stacks(environment=settings)}
    if STACK not in listed:
        engine.init_stack(STACK, settings)
    code = engine.run(
        ["up", "--yes", "--skip-preview", "--config-file", str(config_file)], stack=STACK, environment=settings
    )
    if code:
        raise engine.EngineFailed("pulumi up", code)
    outputs = DEMO / "outputs.json"
    outputs.write_text(json.dumps(engine.stack_outputs(STACK, environment=settings)["contract"], indent=2))
    (DEMO / "cluster.json").write_text(json.dumps(cluster.__dict__))
    return outputs


def submit(target: list[str], settings: dict[str, str]) -> int:
    """The walkthrough's script as a job, followed; the job's own exit code."""
    command = ["jobs", "submit", *target, "--working-dir", str(SCRIPT_FOLDER), "--", "python", SCRIPT]
    say(f"\n$ python -m {' '.join(command)}")
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=engine.ROOT,
        env={**os.environ, **settings},
        stdin=subprocess.DEVNULL,
        check=False,
    ).returncode


def submit_locally() -> int:
    """The job half alone; a local Ray that the demo had to start ends with it."""
    running_before = asyncio.run(local.find())
    code = submit(["--local"], {})
    if running_before is None:
        asyncio.run(local.stop())
    return code


def ended(code: int) -> str:
    return "the job succeeded" if code == 0 else f"the job ended with {code}"


def run() -> int:
    """The demo; 0 only where the job succeeded."""
    DEMO.mkdir(exist_ok=True)
    try:
        cluster = choose_cluster()
        say(f"cluster: context {cluster.context}")
        ensure_engine()
        manifests = ensure_manifests()
    except Unavailable as missing:
        say(f"left out: the deployment. {missing}\nrunning the job half on the embedded local Ray instead")
        code = submit_locally()
        say(f"{ended(code)} on the embedded local Ray; nothing was deployed")
        return code
    outputs = deploy(cluster, manifests)
    settings = {"KUBECONFIG": cluster.kubeconfig} if cluster.kubeconfig else {}
    code = submit(["--outputs", str(outputs)], settings)
    say(f"{ended(code)} on {cluster.context}")
    target_option = f"--outputs {outputs.relative_to(engine.ROOT)}"
    say(f"more jobs:  .venv/bin/python -m jobs submit {target_option} -- python -c 'print(1)'")
    say("the end:    make demo-destroy")
    return code


def take_away() -> int:
    """Destroys the demo's stack with proof, then its kind cluster if the demo made it."""
    from ops.destroy import destroy

    record = DEMO / "cluster.json"
    if not record.is_file():
        say("nothing to destroy: the demo has deployed nothing")
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
