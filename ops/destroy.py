"""`make destroy`: look for what others would lose, destroy, then prove that nothing is left."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from components.cluster.api import Api, ClusterError
from components.cluster.operators import watched
from components.resources.cluster_identity import connect_to_recorded
from components.resources.kubernetes_object import object_path
from ops import engine, inventory

RAY_KINDS = {"RayCluster": "rayclusters", "RayJob": "rayjobs", "RayService": "rayservices", "RayCronJob": "raycronjobs"}
SETTLE_SECONDS = 120.0


class Refused(Exception):
    """Nothing was destroyed; the message says what stands in the way."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def ray_objects(api: Api) -> list[inventory.Object]:
    """Every object of KubeRay's kinds on the cluster, whoever made it."""
    found = []
    for kind, plural in RAY_KINDS.items():
        listing = next(
            (answer for version in ("v1", "v1alpha1") if (answer := api.get(f"/apis/ray.io/{version}/{plural}"))), None
        )
        for item in (listing or {"items": []})["items"]:
            metadata = item["metadata"]
            where = object_path(listing["apiVersion"], kind, metadata["namespace"], metadata["name"])  # type: ignore[index]
            found.append(inventory.Object(kind, metadata["namespace"], metadata["name"], where))
    return sorted(found)


def reach(state: Sequence[Mapping[str, Any]]) -> frozenset[str] | None:
    """The namespaces in which a Ray object goes, or loses its operator, with this stack; None: all of them.

    The operator goes whether or not the CRDs are retained; CRDs that go end every object of their kinds.
    """
    listed = inventory.objects(state)
    found = {entry.name for entry in listed if entry.kind == "Namespace"}
    if any(entry.kind == "CustomResourceDefinition" and not entry.retained for entry in listed):
        return None
    for resource in state:
        if resource["type"] == "kubernetes:apps/v1:Deployment" and resource["id"].endswith("/kuberay-operator"):
            namespaces = watched(resource.get("outputs") or {})
            if not namespaces:
                return None
            found |= namespaces
    return frozenset(found)


def foreign(
    found: Iterable[inventory.Object], own: Iterable[inventory.Object], within: frozenset[str] | None
) -> list[inventory.Object]:
    """Objects `within` these namespaces (None: anywhere) that the stack did not make, and that its end would reach."""
    mine = {(entry.kind, entry.namespace, entry.name) for entry in own}
    return [
        entry
        for entry in found
        if (entry.kind, entry.namespace, entry.name) not in mine and (within is None or entry.namespace in within)
    ]


def about_protection(state: Iterable[Mapping[str, Any]]) -> str:
    """Why a protected stack is not destroyed, before anything else of it is touched; empty where it is not one."""
    names = sorted(resource["urn"].rpartition("::")[2] for resource in state if resource.get("protect"))
    if not names:
        return ""
    return (
        f"the stack is protected ({', '.join(names)}). To end it: set `protect: false` in its stack file, `pulumi up`, "
        "then destroy"
    )


def connect(state: Sequence[Mapping[str, Any]], environment: Mapping[str, str] | None = None) -> Api:
    """The cluster that the stack's state belongs to, by the stack's kubeconfig, else KUBECONFIG of `environment`.

    Raises Refused where the state knows no cluster or the context leads elsewhere, ClusterError where none answers.
    """
    identity = next(
        (resource for resource in state if resource["type"] == "pulumi-python:dynamic/cluster:ClusterIdentity"), None
    )
    if identity is None:
        raise Refused("the stack's state holds no cluster: nothing was ever deployed, or it is destroyed already")
    inputs = identity["inputs"]
    kubeconfig = inputs.get("kubeconfig") or (environment or {}).get("KUBECONFIG")
    try:
        return connect_to_recorded(kubeconfig, inputs["context"], inputs["uid"])
    except ValueError as error:
        raise Refused(str(error)) from error


def destroy(
    stack: str,
    *,
    others: str,
    jobs: str,
    environment: Mapping[str, str] | None = None,
    config_file: Path | None = None,
) -> int:
    """Destroys `stack`; returns 0 when nothing of it is left on the cluster, 1 otherwise.

    `others`: what to do about RayClusters, RayJobs and RayServices that the stack did not make: "refuse" or "delete"
    (those in the stack's own namespaces only). `jobs`: about jobs that run: "refuse", "wait", "stop" or "ignore".
    """
    state = engine.stack_state(stack, environment=environment)
    listed = inventory.objects(state)
    try:
        refuse(about_protection(state))
        api = connect(state, environment)
        found = foreign(ray_objects(api), listed, reach(state))
        contract = _contract_with_heads(stack, api, listed, environment)
        refuse("\n".join([*about_others(found, listed, others), *about_jobs(contract, jobs)]))
        _delete_others(api, found)
        _settle_jobs(contract, jobs)
    except (Refused, ClusterError) as error:
        say(f"not destroyed: {error}")
        return 1
    say(f"{stack}: {len(listed)} objects to go")
    started = time.monotonic()
    config = ["--config-file", str(config_file)] if config_file else []
    code = engine.run(["destroy", "--yes", "--skip-preview", *config], stack=stack, environment=environment)
    left = inventory.wait_until_gone(api, listed, SETTLE_SECONDS if code == 0 else 0)
    retained = [entry for entry, _ in inventory.present(api, [entry for entry in listed if entry.retained])]
    for entry in retained:
        say(f"retained as asked: {entry}")
    for entry, answer in left:
        say(f"left: {entry}: {inventory.why_stuck(answer)}")
    say(f"{stack}: {len(left)} left, {len(retained)} retained, {time.monotonic() - started:.0f} s")
    return 0 if code == 0 and not left else 1


def refuse(problems: str) -> None:
    """Raises Refused with the problems, if there are any."""
    if problems:
        raise Refused(problems)


def about_others(found: Sequence[inventory.Object], listed: Sequence[inventory.Object], others: str) -> list[str]:
    """Why what others made stands in the way; nothing where it was asked to go and may."""
    namespaces = {entry.name for entry in listed if entry.kind == "Namespace"}
    outside = [entry for entry in found if entry.namespace not in namespaces]
    if not found or (others == "delete" and not outside):
        return []
    hint = "" if outside else "; `--others delete` takes them along"
    return [f"made outside this stack: {', '.join(map(str, found))}. Delete them first{hint}"]


def _delete_others(api: Api, found: Sequence[inventory.Object]) -> None:
    # With the operator still there, so that finalizers are served.
    for entry in found:
        say(f"deleting {entry}, made outside this stack")
        api.delete(entry.path)
    left = inventory.wait_until_gone(api, found, SETTLE_SECONDS)
    refuse("; ".join(f"{entry}: {inventory.why_stuck(answer)}" for entry, answer in left))


def with_a_head(
    clusters: Sequence[Mapping[str, Any]], there: Sequence[tuple[inventory.Object, Mapping[str, Any]]]
) -> list[Mapping[str, Any]]:
    """The clusters of a contract that can run a job: those that are on the cluster and not suspended."""
    awake = {
        (entry.namespace, entry.name)
        for entry, answer in there
        if entry.kind == "RayCluster" and (answer.get("status") or {}).get("state") != "suspended"
    }
    return [cluster for cluster in clusters if (cluster["namespace"], cluster["name"]) in awake]


def _contract_with_heads(
    stack: str, api: Api, listed: Sequence[inventory.Object], environment: Mapping[str, str] | None
) -> dict[str, Any]:
    """The stack's contract, less the clusters that can run no job; one without clusters where there is none yet."""
    contract = engine.stack_outputs(stack, environment=environment).get("contract") or {"clusters": []}
    clusters = with_a_head(contract["clusters"], inventory.present(api, listed))
    kubeconfig = contract.get("kubeconfig") or (environment or {}).get("KUBECONFIG")
    return {**contract, "clusters": clusters, "kubeconfig": kubeconfig}


def about_jobs(contract: Mapping[str, Any], policy: str) -> list[str]:
    from ops.running_jobs import refusals

    return refusals(contract) if policy == "refuse" else []


def _settle_jobs(contract: Mapping[str, Any], policy: str) -> None:
    from ops.running_jobs import settle

    if policy in {"wait", "stop"}:
        settle(contract, policy)
