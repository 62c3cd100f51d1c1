"""What can be known of the cluster before anything is registered: namespaces, and what somebody else installed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pulumi

from components.cluster import operators as installed
from components.cluster.api import Api, ClusterError
from components.cluster.crds import CRDS_PATH
from components.errors import StackError, refuse
from components.hooks.ownership import URN
from components.resources.raycluster import api_version
from components.settings.kuberay import KubeRay
from components.settings.load import Settings
from components.settings.pods import SecretKey
from components.settings.raycluster import TOKEN_KEY, Cluster
from components.settings.versions import image_tag


def check(api: Api, settings: Settings) -> None:
    """Raises StackError with everything that would stop `up` halfway."""
    try:
        problems = [*_namespaces(api, settings), *_secrets(api, settings), *_operators(api, settings)]
    except ClusterError as error:
        raise StackError(str(error)) from error
    refuse("The cluster is not ready for this stack:", problems)


def warn_of_any_context(settings: Settings, context: str) -> None:
    """A protected stack should say where it belongs: until its first `up` nothing else does."""
    if context and settings.protect and not settings.kube_context:
        pulumi.log.warn(
            f"`protect` is set and `kubeContext` is not: this stack goes to the current context, {context}. "
            "Set it: `pulumi config set kubeContext NAME`"
        )


def _namespaces(api: Api, settings: Settings) -> Iterator[str]:
    watched = dict.fromkeys(settings.kuberay.watch_namespaces, False)
    for name, ours in {**watched, **settings.used_namespaces}.items():
        found = api.get(f"/api/v1/namespaces/{name}")
        if found is None:
            if not ours:
                yield f"namespace {name}: not there, and `createNamespace` is false; create it, or set that to true"
        elif found["metadata"].get("deletionTimestamp"):
            since = found["metadata"]["deletionTimestamp"]
            yield (
                f"namespace {name}: being deleted since {since}; wait until it is gone. "
                f"`kubectl get namespace {name} -o yaml` says what holds it."
            )


def _secrets(api: Api, settings: Settings) -> Iterator[str]:
    """Secrets that the settings name: without them pods wait in silence."""
    for cluster in settings.clusters:
        for name, key in sorted(_named_secrets(cluster)):
            where = f"Secret {cluster.namespace}/{name}"
            found = api.get(f"/api/v1/namespaces/{cluster.namespace}/secrets/{name}")
            if found is None:
                yield (
                    f"{where}, which cluster {cluster.name} is to use: not there. Make the namespace and the "
                    "Secret first, with `createNamespace: false`"
                )
            elif key and key not in (found.get("data") or {}):
                yield f"{where}, which cluster {cluster.name} is to use: it has no key {key}"


def _named_secrets(cluster: Cluster) -> set[tuple[str, str]]:
    """Name and key (empty: any) of each Secret."""
    named = {(cluster.auth.secret_name, TOKEN_KEY)} if cluster.auth.secret_name else set()
    for pod in (cluster.head, *cluster.worker_groups.values()):
        named |= {(value.secret, value.key) for value in pod.env.values() if isinstance(value, SecretKey)}
        named |= {(name, "") for name in (*pod.env_from_secrets, *pod.image_pull_secrets)}
    if cluster.fault_tolerance:
        redis = cluster.fault_tolerance.redis
        named |= {(one.secret, one.key) for one in (redis.username, redis.password) if one}
    return named


def _operators(api: Api, settings: Settings) -> Iterator[str]:
    if settings.kuberay.crds == "existing":
        yield from _existing_crd(api, settings.kuberay)
    if settings.kuberay.operator == "existing":
        yield from _existing_operator(api, settings)
    else:
        mine = f"urn:pulumi:{pulumi.get_stack()}::{pulumi.get_project()}::"
        found = [(one, installed.watches(api, one)) for one in installed.find_everywhere(api)]
        yield from second_operators(found, settings.kuberay, mine)


def second_operators(
    found: Iterable[tuple[Mapping[str, Any], frozenset[str]]], kuberay: KubeRay, mine: str
) -> Iterator[str]:
    """Operators that would look after the same RayClusters as ours, and undo what it does.

    `found`: each with the namespaces that it watches. `mine`: how the URNs of this stack begin; its own operator may
    be on its way to another namespace.
    """
    ours = frozenset(kuberay.watch_namespaces)
    for deployment, theirs in found:
        metadata = deployment["metadata"]
        # One of that very place is ours, or refused as an object of somebody else's.
        here = (metadata["namespace"], metadata["name"]) == (kuberay.namespace, installed.NAME)
        own = str((metadata.get("annotations") or {}).get(URN, "")).startswith(mine)
        if here or own or (ours and theirs and not ours & theirs):
            continue
        where = metadata["namespace"]
        yield (
            f"Deployment {where}/{metadata['name']}: another KubeRay operator, which watches "
            f"{', '.join(sorted(theirs)) or 'every namespace'}; two of them fight over each RayCluster. Use it "
            f"(`kuberay: {{operator: existing, namespace: {where}}}`), uninstall it, or give both namespaces of their "
            "own (`kuberay.watchNamespaces`)"
        )


def _existing_crd(api: Api, kuberay: KubeRay) -> Iterator[str]:
    wanted = api_version(kuberay.version).partition("/")[2]
    crd = api.get(f"{CRDS_PATH}/rayclusters.ray.io")
    if crd is None:
        yield "`kuberay.crds: existing`: rayclusters.ray.io is not installed; install KubeRay, or set it to `own`"
        return
    served = [version["name"] for version in crd["spec"]["versions"] if version["served"]]
    if wanted not in served:
        yield f"rayclusters.ray.io on the cluster serves {', '.join(served)}; KubeRay {kuberay.version} needs {wanted}"
        return
    schema = next(version for version in crd["spec"]["versions"] if version["name"] == wanted)
    fields = schema["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    missing = sorted(_spec_fields(kuberay) - set(fields))
    if missing:
        yield (
            f"rayclusters.ray.io on the cluster is older than KubeRay {kuberay.version}, without {', '.join(missing)}. "
            "Set `kuberay.version` to the installed version, or have its owner upgrade it."
        )


def _spec_fields(kuberay: KubeRay) -> set[str]:
    """Fields of the RayCluster spec in the pinned version."""
    from components.checks import schema
    from components.kuberay import source
    from components.kuberay.overlay import crd_documents

    documents = crd_documents(source.resolve(kuberay.version, kuberay.source))
    found: dict[str, Any] = schema.of_kind(documents, api_version(kuberay.version), "RayCluster") or {}
    return set(found["properties"]["spec"]["properties"])


def _existing_operator(api: Api, settings: Settings) -> Iterator[str]:
    kuberay = settings.kuberay
    found = installed.find(api, kuberay.namespace)
    if not found:
        yield (
            f"`kuberay.operator: existing`: no operator in namespace {kuberay.namespace}; set `kuberay.namespace` to "
            "where it runs, or `kuberay.operator: own`"
        )
        return
    image = found[0]["spec"]["template"]["spec"]["containers"][0]["image"]
    tag = image_tag(image)
    if tag and tag.startswith("v") and tag != kuberay.version:
        yield (
            f"the operator in namespace {kuberay.namespace} is {tag}, `kuberay.version` is {kuberay.version}; "
            f"allowed: {tag}, or have its owner upgrade it"
        )
    if not installed.available(found[0]):
        yield f"the operator in namespace {kuberay.namespace} is not available; its owner has to repair it first"
    watched = installed.watches(api, found[0])
    for cluster in settings.clusters:
        if watched and cluster.namespace not in watched:
            yield (
                f"RayCluster {cluster.namespace}/{cluster.name}: the operator in namespace {kuberay.namespace} does "
                f"not watch its namespace; allowed: {', '.join(sorted(watched))}, or have the operator's owner add "
                f"{cluster.namespace}"
            )
