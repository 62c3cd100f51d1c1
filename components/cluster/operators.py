"""KubeRay operators as they are on a cluster, whoever installed them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

import yaml

from components.cluster.api import Api, Forbidden

NAME = "kuberay-operator"
# Of the Deployment that kustomize makes; and of the Helm chart's.
LABELS = (f"app.kubernetes.io/component={NAME}", f"app.kubernetes.io/name={NAME}")
WATCH = "watch-namespace"


def watched(deployment: Mapping[str, Any]) -> frozenset[str]:
    """The namespaces that an operator acts in, from its container's arguments; empty: the whole cluster."""
    args, text = _args(deployment), ""
    for arg, following in zip_longest(args, args[1:], fillvalue=""):
        flag, equals, value = arg.partition("=")
        if flag.startswith("-") and flag.lstrip("-") == WATCH:
            text = value if equals else following  # of two, Go's flags take the last
    return _names(text)


def watches(api: Api, deployment: Mapping[str, Any]) -> frozenset[str]:
    """As `watched`, also of an operator with its settings in a file, which newer Helm charts make in a ConfigMap.

    One that this user may not read counts as watching the whole cluster.
    """
    if not any(arg.startswith("-") and arg.lstrip("-").partition("=")[0] == "config" for arg in _args(deployment)):
        return watched(deployment)
    where = f"/api/v1/namespaces/{deployment['metadata']['namespace']}/configmaps"
    for volume in _pod(deployment).get("volumes") or []:
        try:
            found = api.get(f"{where}/{volume['configMap']['name']}") if "configMap" in volume else None
        except Forbidden:
            continue
        for text in ((found or {}).get("data") or {}).values():
            try:
                settings = yaml.safe_load(text)
            except yaml.YAMLError:
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
    return bool((deployment.get("status") or {}).get("availableReplicas"))


def find(api: Api, namespace: str) -> list[dict[str, Any]]:
    """The Deployments of the operators in `namespace`."""
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    return _labelled(api, path) or [named for named in [api.get(f"{path}/{NAME}")] if named]


def find_everywhere(api: Api) -> list[dict[str, Any]]:
    """Those of the whole cluster; none for who may not look outside namespaces of their own."""
    try:
        return _labelled(api, "/apis/apps/v1/deployments")
    except Forbidden:
        return []


def _labelled(api: Api, path: str) -> list[dict[str, Any]]:
    found = [one for label in LABELS for one in (api.get(path, labelSelector=label) or {"items": []})["items"]]
    unique = {(one["metadata"]["namespace"], one["metadata"]["name"]): one for one in found}
    return list(unique.values())
