"""The outputs contract (docs/architecture.md), read: which Kubernetes cluster, which Ray clusters, by what names."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ..errors import Refused

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Cluster:
    """One RayCluster. `auth_secret` is (name, key) of the Secret with the token; None: no token authentication."""

    name: str
    namespace: str
    head_service: str
    dashboard_port: int
    ray_version: str | None
    external_url: str | None
    auth_secret: tuple[str, str] | None


@dataclass(frozen=True)
class Contract:
    source: str
    stack: str | None
    kubeconfig: str | None
    kube_context: str | None
    cluster_uid: str | None
    operator_namespace: str | None
    operator_version: str | None
    clusters: tuple[Cluster, ...]

    def cluster(self, name: str | None) -> Cluster:
        """The cluster of this name; the only one where no name is given. Raises Refused."""
        names = ", ".join(cluster.name for cluster in self.clusters)
        if name is not None:
            for cluster in self.clusters:
                if cluster.name == name:
                    return cluster
            raise Refused(f"{self.source} has no cluster {name!r}.", f"It has: {names or 'none'}.")
        if len(self.clusters) == 1:
            return self.clusters[0]
        if not self.clusters:
            raise Refused(f"{self.source} has no Ray cluster.", "Add one to the stack and run `pulumi up`.")
        raise Refused(f"{self.source} has several clusters.", f"Choose one with --cluster: {names}.")


def parse(text: str, source: str) -> Contract:
    """The contract in a JSON text. `source` is what errors call it. Raises Refused, naming the field."""
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise Refused(f"{source} is not JSON: {error}", "Write it anew with `make outputs`.") from error
    # `pulumi stack output --json` without a name gives all outputs, the contract among them.
    if isinstance(raw, dict) and "schemaVersion" not in raw and isinstance(raw.get("contract"), dict):
        raw = raw["contract"]
    if not isinstance(raw, dict) or not isinstance(raw.get("schemaVersion"), int):
        raise Refused(
            f"{source} is not the outputs contract: it has no schemaVersion.", "Write it anew with `make outputs`."
        )
    if raw["schemaVersion"] > SCHEMA_VERSION:
        raise Refused(
            f"{source} has schemaVersion {raw['schemaVersion']}; this version of jobs reads up to {SCHEMA_VERSION}.",
            "Update rayjobs.",
        )
    reader = _Reader(source)
    operator = raw.get("operator") or {}
    clusters = raw.get("clusters")
    if not isinstance(clusters, list):
        raise Refused(f"{source}: clusters must be a list.", "Write it anew with `make outputs`.")
    return Contract(
        source=source,
        stack=reader.text(raw, "stack"),
        kubeconfig=reader.text(raw, "kubeconfig"),
        kube_context=reader.text(raw, "kubeContext"),
        cluster_uid=reader.text(raw, "clusterUid"),
        operator_namespace=reader.text(operator, "namespace"),
        operator_version=reader.text(operator, "version"),
        clusters=tuple(reader.cluster(entry, f"clusters[{i}]") for i, entry in enumerate(clusters)),
    )


class _Reader:
    def __init__(self, source: str) -> None:
        self.source = source

    def wrong(self, what: str) -> Refused:
        return Refused(f"{self.source}: {what}.", "Write it anew with `make outputs`.")

    def text(self, raw: dict[str, Any], key: str) -> str | None:
        value = raw.get(key)
        if value is not None and not isinstance(value, str):
            raise self.wrong(f"{key} must be a string, it is {value!r}")
        return value or None

    def cluster(self, raw: Any, at: str) -> Cluster:
        if not isinstance(raw, dict):
            raise self.wrong(f"{at} must be an object")
        named = {key: self.text(raw, key) for key in ("name", "namespace", "headService")}
        for key, value in named.items():
            if value is None:
                raise self.wrong(f"{at}.{key} is missing")
        port = raw.get("dashboardPort", 8265)
        if isinstance(port, float) and port.is_integer():
            port = int(port)  # Pulumi's numbers are floats.
        if not isinstance(port, int) or not 0 < port < 65536:
            raise self.wrong(f"{at}.dashboardPort must be a port, it is {port!r}")
        secret = raw.get("authSecret")
        if secret is not None and not (isinstance(secret, dict) and secret.get("name") and secret.get("key")):
            raise self.wrong(f"{at}.authSecret must have name and key, or be null")
        return Cluster(
            name=str(named["name"]),
            namespace=str(named["namespace"]),
            head_service=str(named["headService"]),
            dashboard_port=port,
            ray_version=self.text(raw, "rayVersion"),
            external_url=self.text(raw, "externalUrl"),
            auth_secret=(str(secret["name"]), str(secret["key"])) if secret else None,
        )
