"""`make destroy`: check for work that would be lost, destroy the stack, then prove that nothing is left."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from components.cluster.api import Api
from components.cluster.operators import namespaces_from_flags
from components.cluster.paths import object_path
from components.errors import ClusterError
from jobs.errors import number_of
from jobs.spec.shown import visible
from ops import engine, running_jobs, stack_objects
from ops.errors import Refused
from ops.options import stack_option

RAY_KINDS = {"RayCluster": "rayclusters", "RayJob": "rayjobs", "RayService": "rayservices", "RayCronJob": "raycronjobs"}
SETTLE_SECONDS = 120.0


@click.command("destroy")
@stack_option
@click.option(
    "--others",
    envvar="OTHERS",
    type=click.Choice(["refuse", "delete"]),
    default="refuse",
    show_default=True,
    help="What to do about Ray objects that were made outside this stack.",
)
@click.option(
    "--jobs",
    envvar="JOBS",
    type=click.Choice(["refuse", "wait", "stop", "ignore"]),
    default="refuse",
    show_default=True,
    help="What to do about Ray jobs that still run.",
)
def destroy_command(stack: str, others: str, jobs: str) -> None:
    """Destroy the stack and prove that nothing is left. Exits with 0 only then.

    With make the options are variables: `make destroy STACK=dev JOBS=stop`.
    """
    sys.exit(destroy(stack, others=others, jobs=jobs))


def destroy(
    stack: str,
    *,
    others: str,
    jobs: str,
    environment: Mapping[str, str] | None = None,
    config_file: Path | None = None,
) -> int:
    """Destroys a stack and checks the cluster afterwards.

    Args:
        stack: Name of the stack.
        others: RayClusters, RayJobs and RayServices made outside the stack: "refuse" to destroy, or "delete" them
            (only in namespaces of the stack).
        jobs: Ray jobs that have not ended: "refuse" to destroy, "wait" for them, "stop" or "ignore" them.
        environment: Variables for the Pulumi CLI, on top of this process' own.
        config_file: The stack file; the repository's by default.

    Returns:
        0 if nothing of the stack is left on the cluster, otherwise 1.
    """
    resources = engine.stack_state(stack, environment=environment)
    objects = stack_objects.objects(resources)
    try:
        refuse_if(protection_problem(resources))
        api = stack_objects.connect(resources, environment)
        foreign = foreign_objects(ray_objects(api), objects, affected_namespaces(resources))
        contract = _contract_of_running_heads(stack, api, objects, environment)
        job_problems = running_jobs.refusals(contract) if jobs == "refuse" else []
        refuse_if("\n".join([*foreign_problems(foreign, objects, others), *job_problems]))
        _delete_foreign(api, foreign)
        if jobs in {"wait", "stop"}:
            running_jobs.wait_or_stop(contract, jobs)
    except (Refused, ClusterError) as error:
        click.echo(visible(f"not destroyed: {error}", lines=True), err=True)
        return 1
    click.echo(f"{stack}: deleting {number_of(len(objects), 'object')}", err=True)
    started = time.monotonic()
    config = ["--config-file", str(config_file)] if config_file else []
    code = engine.run(["destroy", "--yes", "--skip-preview", *config], stack=stack, environment=environment)
    left = stack_objects.wait_until_gone(api, objects, SETTLE_SECONDS if code == 0 else 0)
    retained = stack_objects.find_on_cluster(api, [entry for entry in objects if entry.retained])
    for entry, _ in retained:
        click.echo(f"retained as asked: {entry}", err=True)
    for entry, answer in left:
        click.echo(visible(f"left: {entry}: {stack_objects.why_stuck(answer)}"), err=True)
    seconds = time.monotonic() - started
    click.echo(f"{stack}: {len(left)} left, {len(retained)} retained, {seconds:.0f} s", err=True)
    return 0 if code == 0 and not left else 1


def refuse_if(problems: str) -> None:
    """Raises Refused with the problems, if there are any."""
    if problems:
        raise Refused(problems)


def protection_problem(resources: Iterable[Mapping[str, Any]]) -> str:
    """Why a protected stack is not destroyed; empty for a stack without protection.

    Pulumi itself would refuse only after it deleted the unprotected resources.
    """
    names = sorted(resource["urn"].rpartition("::")[2] for resource in resources if resource.get("protect"))
    if not names:
        return ""
    return (
        f"the stack is protected ({', '.join(names)}). To end it: set `protect: false` in its stack file, `pulumi up`, "
        "then destroy"
    )


def ray_objects(api: Api) -> list[stack_objects.Object]:
    """Every object of KubeRay's kinds on the cluster."""
    listed = []
    for kind, plural in RAY_KINDS.items():
        answers = (api.get(f"/apis/ray.io/{version}/{plural}") for version in ("v1", "v1alpha1"))
        response: dict[str, Any] = next((answer for answer in answers if answer), {"items": []})
        for item in response["items"]:
            namespace, name = item["metadata"]["namespace"], item["metadata"]["name"]
            path = object_path(response["apiVersion"], kind, namespace, name)
            listed.append(stack_objects.Object(kind, namespace, name, path))
    return sorted(listed)


def affected_namespaces(resources: Sequence[Mapping[str, Any]]) -> frozenset[str] | None:
    """The namespaces whose Ray objects are deleted, or lose their operator, with this stack; None: all namespaces.

    The operator is deleted even if the CRDs are retained. Deleted CRDs take every object of their kinds along.
    """
    objects = stack_objects.objects(resources)
    if any(entry.kind == "CustomResourceDefinition" and not entry.retained for entry in objects):
        return None
    affected = {entry.name for entry in objects if entry.kind == "Namespace"}
    for resource in resources:
        if resource["type"] == "kubernetes:apps/v1:Deployment" and resource["id"].endswith("/kuberay-operator"):
            namespaces = namespaces_from_flags(resource.get("outputs") or {})
            if not namespaces:
                return None
            affected |= namespaces
    return frozenset(affected)


def foreign_objects(
    candidates: Iterable[stack_objects.Object], own: Iterable[stack_objects.Object], namespaces: frozenset[str] | None
) -> list[stack_objects.Object]:
    """The candidates in `namespaces` (None: in any) that were made outside the stack."""
    identities = {(entry.kind, entry.namespace, entry.name) for entry in own}
    return [
        entry
        for entry in candidates
        if (entry.kind, entry.namespace, entry.name) not in identities
        and (namespaces is None or entry.namespace in namespaces)
    ]


def foreign_problems(
    foreign: Sequence[stack_objects.Object], own: Iterable[stack_objects.Object], others: str
) -> list[str]:
    """Why foreign objects stop the destroy; empty if `others` is "delete" and all are in the stack's namespaces."""
    namespaces = {entry.name for entry in own if entry.kind == "Namespace"}
    outside = [entry for entry in foreign if entry.namespace not in namespaces]
    if not foreign or (others == "delete" and not outside):
        return []
    hint = "" if outside else ", or let `--others delete` delete them"
    return [f"made outside this stack: {', '.join(map(str, foreign))}. Delete them first{hint}"]


def _delete_foreign(api: Api, foreign: Sequence[stack_objects.Object]) -> None:
    # The operator still runs, so it serves their finalizers.
    for entry in foreign:
        click.echo(f"deleting {entry}, made outside this stack", err=True)
        api.delete(entry.path)
    left = stack_objects.wait_until_gone(api, foreign, SETTLE_SECONDS)
    refuse_if("; ".join(f"{entry}: {stack_objects.why_stuck(answer)}" for entry, answer in left))


def clusters_with_head(
    clusters: Sequence[Mapping[str, Any]], present: Sequence[tuple[stack_objects.Object, Mapping[str, Any]]]
) -> list[Mapping[str, Any]]:
    """The clusters of a contract that can run a job: they are on the cluster and not suspended."""
    awake = {
        (entry.namespace, entry.name)
        for entry, answer in present
        if entry.kind == "RayCluster" and (answer.get("status") or {}).get("state") != "suspended"
    }
    return [cluster for cluster in clusters if (cluster["namespace"], cluster["name"]) in awake]


def _contract_of_running_heads(
    stack: str, api: Api, objects: Sequence[stack_objects.Object], environment: Mapping[str, str] | None
) -> dict[str, Any]:
    """The stack's contract with only the clusters that can run a job."""
    contract = engine.stack_outputs(stack, environment=environment).get("contract") or {"clusters": []}
    clusters = clusters_with_head(contract["clusters"], stack_objects.find_on_cluster(api, objects))
    kubeconfig = contract.get("kubeconfig") or (environment or {}).get("KUBECONFIG")
    return {**contract, "clusters": clusters, "kubeconfig": kubeconfig}
