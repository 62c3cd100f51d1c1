"""Checks the cluster before anything is registered: its operator, namespaces and Secrets, and no second operator."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.checks import keeper_volumes, schema
from components.cluster import operators
from components.cluster.api import Api
from components.cluster.crds import CRDS_PATH
from components.cluster.ownership import URN_ANNOTATION
from components.errors import Forbidden, refuse
from components.manifests.monitoring import API_VERSION as MONITORING
from components.manifests.raycluster import api_version
from components.settings import Settings
from components.settings.env import SecretKey
from components.settings.kuberay import KubeRay
from components.settings.raycluster import RayClusterSettings
from components.settings.versions import image_tag
from jobs.target.contract import TOKEN_KEY


def check(api: Api, settings: Settings, tree: Path, urn_prefix: str, *, preview: bool) -> list[str]:
    """Checks the cluster for everything that would stop an `up` halfway.

    Args:
        api: API server of the cluster.
        settings: settings of the stack.
        tree: KubeRay's files of the pinned version.
        urn_prefix: beginning of the URNs of this stack.
        preview: a Secret that this user may not read is no error. A preview runs code that nobody has reviewed, so its
            user should not have that right.

    Returns:
        What a preview could not check, and the kept jobs that this update would delete, one a line.

    Raises:
        StackError: the cluster is not ready; the message lists all problems, one a line.
        ClusterError: the cluster does not answer.
    """
    secret_problems, unchecked = _secrets(api, settings, preview)
    problems = [*_namespaces(api, settings), *secret_problems, *_missing_kinds(api, settings)]
    place_problems, unchecked_places = _places_of_monitoring(api, settings, preview)
    problems += place_problems
    unchecked += unchecked_places
    try:
        problems += keeper_volumes.problems(api, settings, urn_prefix)
    except Forbidden:  # the API server refuses the same, later
        unchecked.append("volumes of the keepers: not checked, because this user may not read them or StorageClasses")
    with contextlib.suppress(Forbidden):  # a stack without a keeper needs no right to list volumes
        unchecked += keeper_volumes.losses(api, settings, urn_prefix)
    if settings.kuberay.crds == "existing":
        problems += _existing_crd(api, settings.kuberay, tree)
    if settings.kuberay.operator == "existing":
        problems += _existing_operator(api, settings)
    else:
        watched = [
            (deployment, operators.watched_namespaces(api, deployment)) for deployment in operators.find_everywhere(api)
        ]
        problems += second_operators(watched, settings.kuberay, urn_prefix)
    refuse("The cluster is not ready for this stack:", problems)
    return unchecked


def _namespaces(api: Api, settings: Settings) -> Iterator[str]:
    watched = dict.fromkeys(settings.kuberay.watch_namespaces, False)
    for name, create in {**watched, **settings.used_namespaces}.items():
        namespace = api.get(f"/api/v1/namespaces/{name}")
        if namespace is None:
            if not create:
                yield f"namespace {name}: not there, and `createNamespace` is false; create it, or set that to true"
        elif since := namespace["metadata"].get("deletionTimestamp"):
            yield (
                f"namespace {name}: being deleted since {since}; wait until it is gone. "
                f"`kubectl get namespace {name} -o yaml` shows what holds it up."
            )


def _missing_kinds(api: Api, settings: Settings) -> Iterator[str]:
    """Kinds of prometheus-operator that monitoring needs."""
    monitoring = settings.monitoring
    wanted = {"PodMonitor": ("podMonitor", monitoring.pod_monitor), "PrometheusRule": ("rules", monitoring.rules)}
    kinds = {kind: key for kind, (key, value) in wanted.items() if value}
    if kinds:
        listed = (api.get(f"/apis/{MONITORING}") or {}).get("resources", [])
        served = {entry["kind"] for entry in listed}
        for kind in sorted(set(kinds) - served):
            yield (
                f"`monitoring.{kinds[kind]}`: the cluster has no kind {kind} ({MONITORING}); install the CRDs of "
                f"prometheus-operator, or remove `{kinds[kind]}`. Without prometheus-operator set "
                "`scrapeAnnotations: true`"
            )


def _places_of_monitoring(api: Api, settings: Settings, preview: bool) -> tuple[list[str], list[str]]:
    """Problems of the namespaces that monitoring names and the stack does not use, and those not checked."""
    monitoring = settings.monitoring
    parts = {"podMonitor": monitoring.pod_monitor, "rules": monitoring.rules, "dashboards": monitoring.dashboards}
    problems: list[str] = []
    unchecked: list[str] = []
    for key, part in parts.items():
        name = part.namespace if part else None
        if not name or name in settings.used_namespaces:
            continue
        subject = f"`monitoring.{key}.namespace`: namespace {name}"
        with _unless_forbidden(subject, preview, unchecked):
            namespace = api.get(f"/api/v1/namespaces/{name}")
            if namespace is None:
                problems.append(f"{subject}: not there; create it, or name another one")
            elif "deletionTimestamp" in namespace["metadata"]:
                problems.append(f"{subject}: being deleted; wait until it is gone, or name another one")
    return problems, unchecked


@contextmanager
def _unless_forbidden(subject: str, preview: bool, unchecked: list[str]) -> Iterator[None]:
    """Ends the block where this user may not read the subject. In a preview that is no error: it is `unchecked`."""
    try:
        yield
    except Forbidden:
        if not preview:
            raise
        unchecked.append(f"{subject}: not checked, because this user may not read it; `pulumi up` checks it")


def _secrets(api: Api, settings: Settings, preview: bool) -> tuple[list[str], list[str]]:
    """Problems of the Secrets that the settings name, and those not checked. Without them the pods wait silently."""
    problems: list[str] = []
    unchecked: list[str] = []
    users = [(cluster.namespace, f"cluster {cluster.name}", _named_secrets(cluster)) for cluster in settings.clusters]
    if settings.kuberay.operator == "own":
        kuberay = settings.kuberay
        secrets = {*_keys([kuberay.env]), *((name, "") for name in kuberay.image_pull_secrets)}
        users.append((kuberay.namespace, "the operator", secrets))
    for namespace, user, secrets in users:
        for name, key in sorted(secrets):
            subject = f"Secret {namespace}/{name}, which {user} is to use"
            with _unless_forbidden(subject, preview, unchecked):
                secret = api.get(f"/api/v1/namespaces/{namespace}/secrets/{name}")
                if secret is None:
                    hint = "Create the namespace and the Secret first, and set `createNamespace: false`"
                    problems.append(f"{subject}: not there. {hint}")
                elif key and key not in (secret.get("data") or {}):
                    problems.append(f"{subject}: it has no key {key}")
    return problems, unchecked


def _named_secrets(cluster: RayClusterSettings) -> set[tuple[str, str]]:
    """Returns name and key of each Secret; an empty key: any."""
    secrets = {(cluster.auth.secret_name, TOKEN_KEY)} if cluster.auth.secret_name else set()
    pods = (cluster.head, *cluster.worker_groups.values())
    secrets |= _keys([cluster.autoscaling.env, *(pod.env for pod in pods)])
    for pod in pods:
        secrets |= {(name, "") for name in (*pod.env_from_secrets, *pod.image_pull_secrets)}
    if cluster.fault_tolerance:
        redis = cluster.fault_tolerance.redis
        secrets |= {(source.secret, source.key) for source in (redis.username, redis.password) if source}
    if cluster.keeper:
        secrets |= {(name, "") for name in cluster.keeper.image_pull_secrets}
    return secrets


def _keys(envs: Iterable[Mapping[str, Any]]) -> set[tuple[str, str]]:
    return {(value.secret, value.key) for env in envs for value in env.values() if isinstance(value, SecretKey)}


def second_operators(
    watched: Iterable[tuple[Mapping[str, Any], frozenset[str]]], kuberay: KubeRay, urn_prefix: str
) -> Iterator[str]:
    """Operators that would act on the same RayClusters as the stack's own, and undo its changes.

    Args:
        watched: the Deployment of each operator on the cluster, and the namespaces that it watches (none: all).
        kuberay: settings of the stack's operator.
        urn_prefix: beginning of the URNs of this stack. Its own operator may be moving to another namespace.
    """
    own_namespaces = frozenset(kuberay.watch_namespaces)
    for deployment, namespaces in watched:
        metadata = deployment["metadata"]
        name, namespace = metadata["name"], metadata["namespace"]
        # A Deployment of this name and namespace is the stack's own, or Ownership refuses it.
        in_place = (namespace, name) == (kuberay.namespace, operators.NAME)
        moving = str((metadata.get("annotations") or {}).get(URN_ANNOTATION, "")).startswith(urn_prefix)
        disjoint = own_namespaces and namespaces and not own_namespaces & namespaces
        if in_place or moving or disjoint:
            continue
        yield (
            f"Deployment {namespace}/{name}: another KubeRay operator, which watches "
            f"{', '.join(sorted(namespaces)) or 'every namespace'}; two operators would undo each other's changes. "
            f"Use it with `kuberay: {{operator: existing, namespace: {namespace}}}`, uninstall it, or set "
            "`kuberay.watchNamespaces` so that each operator has its own namespaces"
        )


def _existing_crd(api: Api, kuberay: KubeRay, tree: Path) -> Iterator[str]:
    version = api_version(kuberay.version).partition("/")[2]
    crd = api.get(f"{CRDS_PATH}/rayclusters.ray.io")
    if crd is None:
        yield "`kuberay.crds: existing`: rayclusters.ray.io is not installed; install KubeRay, or set it to `own`"
        return
    served = [entry["name"] for entry in crd["spec"]["versions"] if entry["served"]]
    if version not in served:
        yield f"rayclusters.ray.io on the cluster serves {', '.join(served)}; KubeRay {kuberay.version} needs {version}"
        return
    live = next(entry for entry in crd["spec"]["versions"] if entry["name"] == version)
    fields = live["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    missing = sorted(_spec_fields(kuberay, tree) - set(fields))
    if missing:
        yield (
            f"rayclusters.ray.io on the cluster is older than KubeRay {kuberay.version}: it has no "
            f"{', '.join(missing)}. Set `kuberay.version` to the installed version, or have its owner upgrade it."
        )


def _spec_fields(kuberay: KubeRay, tree: Path) -> set[str]:
    """Fields of the RayCluster spec in the pinned version."""
    raycluster = schema.schema_of(tree, api_version(kuberay.version), "RayCluster") or {}
    return set(raycluster["properties"]["spec"]["properties"])


def _existing_operator(api: Api, settings: Settings) -> Iterator[str]:
    kuberay = settings.kuberay
    deployments = operators.find(api, kuberay.namespace)
    if not deployments:
        yield (
            f"`kuberay.operator: existing`: no operator in namespace {kuberay.namespace}; set `kuberay.namespace` to "
            "the namespace where it runs, or `kuberay.operator: own`"
        )
        return
    deployment = deployments[0]
    subject = f"the operator in namespace {kuberay.namespace}"
    tag = image_tag(deployment["spec"]["template"]["spec"]["containers"][0]["image"])
    if tag and tag.startswith("v") and tag != kuberay.version:
        yield (
            f"{subject} is {tag}, `kuberay.version` is {kuberay.version}; allowed: {tag}, or have its owner upgrade it"
        )
    if not operators.available(deployment):
        yield f"{subject} is not available; its owner has to repair it first"
    watched = operators.watched_namespaces(api, deployment)
    for cluster in settings.clusters:
        if watched and cluster.namespace not in watched:
            yield (
                f"RayCluster {cluster.namespace}/{cluster.name}: {subject} does not watch its namespace; "
                f"allowed: {', '.join(sorted(watched))}, or have the operator's owner add {cluster.namespace}"
            )
