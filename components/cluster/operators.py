"""Finds the KubeRay operators on a cluster, also those of other installations."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

from components.cluster.api import Api
from components.errors import Forbidden
from jobs.yaml_file import NotYaml, parse_yaml

NAME = "kuberay-operator"
# The label of upstream's kustomization, and that of the Helm chart.
LABELS = (f"app.kubernetes.io/component={NAME}", f"app.kubernetes.io/name={NAME}")
WATCH_FLAG = "watch-namespace"


def namespaces_from_flags(deployment: Mapping[str, Any]) -> frozenset[str]:
    """Returns the namespaces in which an operator acts, by the flags of its container; empty: the whole cluster."""
    args, value = _args(deployment), ""
    for arg, next_arg in zip_longest(args, args[1:], fillvalue=""):
        flag, equals, inline = arg.partition("=")
        if flag.startswith("-") and flag.lstrip("-") == WATCH_FLAG:
            value = inline if equals else next_arg  # of two equal flags Go uses the last
    return _names(value)


def watched_namespaces(api: Api, deployment: Mapping[str, Any]) -> frozenset[str]:
    """Returns the namespaces in which an operator acts; empty: the whole cluster.

    The settings of an operator are its flags, or (newer Helm charts) a file in a ConfigMap. If this user cannot read
    that, the operator counts as watching the whole cluster.
    """
    if not any(arg.startswith("-") and arg.lstrip("-").partition("=")[0] == "config" for arg in _args(deployment)):
        return namespaces_from_flags(deployment)
    folder = f"/api/v1/namespaces/{deployment['metadata']['namespace']}/configmaps"
    for volume in _pod(deployment).get("volumes") or []:
        try:
            config_map = api.get(f"{folder}/{volume['configMap']['name']}") if "configMap" in volume else None
        except Forbidden:
            continue
        for text in ((config_map or {}).get("data") or {}).values():
            try:
                settings = parse_yaml(text)
            except NotYaml:
                continue
            if isinstance(settings, dict) and settings.get("watchNamespace"):
                return _names(str(settings["watchNamespace"]))
    return frozenset()


def _pod(deployment: Mapping[str, Any]) -> dict[str, Any]:
    return deployment.get("spec", {}).get("template", {}).get("spec") or {}


def _args(deployment: Mapping[str, Any]) -> list[str]:
    containers = _pod(deployment).get("containers") or [{}]
    return [str(arg) for arg in containers[0].get("args") or []]


def _names(text: str) -> frozenset[str]:
    return frozenset(name.strip() for name in text.split(",") if name.strip())


def available(deployment: Mapping[str, Any]) -> bool:
    """Returns whether a replica of the operator is available."""
    return bool((deployment.get("status") or {}).get("availableReplicas"))


def find(api: Api, namespace: str) -> list[dict[str, Any]]:
    """Returns the Deployments of operators in `namespace`."""
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    return _labelled(api, path) or [deployment for deployment in [api.get(f"{path}/{NAME}")] if deployment]


def find_everywhere(api: Api) -> list[dict[str, Any]]:
    """Returns the Deployments of operators on the whole cluster; none for a user who cannot list Deployments there."""
    try:
        return _labelled(api, "/apis/apps/v1/deployments")
    except Forbidden:
        return []


def _labelled(api: Api, path: str) -> list[dict[str, Any]]:
    lists = [(api.get(path, labelSelector=label) or {"items": []})["items"] for label in LABELS]
    deployments = [deployment for items in lists for deployment in items]
    by_name = {(entry["metadata"]["namespace"], entry["metadata"]["name"]): entry for entry in deployments}
    return list(by_name.values())
