"""The outputs contract (docs/architecture.md): which Kubernetes cluster a stack is on, and its Ray clusters by name.

The Pulumi program writes it with `Contract.to_dict`; all others read it with `parse`. It names the Secret of a
token and never holds the token.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ..errors import Refused, did_you_mean

# A reader refuses a higher version. A new optional field does not raise it.
SCHEMA_VERSION = 1
DASHBOARD_PORT = 8265
TOKEN_KEY = "auth_token"
"""Key of the token in its Secret, as KubeRay has it."""

REMEDY = "Write it anew with `make outputs`."

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"


@dataclass(frozen=True)
class Grammar:
    """What Kubernetes allows as a name (https://kubernetes.io/docs/concepts/overview/working-with-objects/names)."""

    pattern: str
    limit: int
    allowed: str

    def accepts(self, name: str) -> bool:
        return len(name) <= self.limit and re.fullmatch(self.pattern, name) is not None


LABEL = Grammar(_LABEL, 63, "lower-case letters, digits and inner -, at most 63 characters")
SUBDOMAIN = Grammar(_SUBDOMAIN, 253, "lower-case letters, digits, inner - and dots, at most 253 characters")
DATA_KEY = Grammar(r"(?!\.\.)(?!\.$)[-._A-Za-z0-9]+", 253, "letters, digits, -, _ and dots, at most 253 characters")


_HTTP_URL = re.compile(r"https?://([-._A-Za-z0-9]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?(/[!-~]*)?")


def http_url_problem(url: str) -> str:
    """Returns what is wrong with a URL to which requests without a login are sent; empty if nothing is.

    The text does not repeat the URL: it may hold a password.
    """
    try:
        parts = urlsplit(url)
        plain = not ("@" in parts.netloc or "?" in url or "#" in url)
        valid = _HTTP_URL.fullmatch(url) is not None and parts.port != 0
    except ValueError:
        plain, valid = "@" not in url, False
    if not plain:
        return "must have no user, password, query or fragment"
    return "" if valid else "must be an http or https URL, such as http://prometheus.monitoring:9090"


@dataclass(frozen=True)
class KeeperService:
    """The Service of a RayCluster's keeper, in the RayCluster's namespace, and the port of its API."""

    service: str
    port: int


@dataclass(frozen=True)
class Cluster:
    """One RayCluster.

    Attributes:
        head_service: name of the head's Service in `namespace`.
        dashboard_port: port of the Jobs API there.
        external_url: URL of the Jobs API from outside; None: it has none.
        auth_secret: name and key of the Secret with the token; None: no token authentication.
        keeper: what keeps its jobs; None: it has no keeper.
    """

    name: str
    namespace: str
    head_service: str
    dashboard_port: int
    ray_version: str | None
    external_url: str | None
    auth_secret: tuple[str, str] | None
    keeper: KeeperService | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns the entry of `clusters`, in the order of its fields in docs/architecture.md."""
        return {
            "name": self.name,
            "namespace": self.namespace,
            "headService": self.head_service,
            "dashboardPort": self.dashboard_port,
            "rayVersion": self.ray_version,
            "externalUrl": self.external_url,
            "authSecret": {"name": self.auth_secret[0], "key": self.auth_secret[1]} if self.auth_secret else None,
            "keeper": {"service": self.keeper.service, "port": self.keeper.port} if self.keeper else None,
        }


@dataclass(frozen=True)
class Contract:
    """The outputs of one stack.

    Attributes:
        source: name of the contract in error messages: a file, or a stack.
        kubeconfig: path that the stack uses; None: `KUBECONFIG`, then `~/.kube/config`.
        kube_context: name of the context on the machine that deployed the stack; empty or None: a pod's own
            ServiceAccount, or manifests that were only rendered.
        cluster_uid: UID of the namespace `kube-system`; None: manifests that were only rendered.
        prometheus: URL of the Prometheus that scrapes the stack, as pods reach it; None: none is named.
    """

    source: str
    project: str | None
    stack: str | None
    kubeconfig: str | None
    kube_context: str | None
    cluster_uid: str | None
    operator_namespace: str | None
    operator_version: str | None
    clusters: tuple[Cluster, ...]
    prometheus: str | None = None

    def cluster(self, name: str | None) -> Cluster:
        """Returns the cluster of this name; without a name the only one. Raises Refused."""
        names = ", ".join(cluster.name for cluster in self.clusters)
        if name is not None:
            for cluster in self.clusters:
                if cluster.name == name:
                    return cluster
            near = did_you_mean(name, [cluster.name for cluster in self.clusters])
            raise Refused(f"{self.source} has no cluster {name!r}.", f"{near}It has: {names or 'none'}.")
        if len(self.clusters) == 1:
            return self.clusters[0]
        if not self.clusters:
            raise Refused(f"{self.source} has no Ray cluster.", "Add one to the stack and run `pulumi up`.")
        raise Refused(f"{self.source} has several clusters.", f"Choose one with --cluster: {names}.")

    def to_dict(self) -> dict[str, Any]:
        """Returns the contract as the stack exports it, in the order of its fields in docs/architecture.md."""
        return {
            "schemaVersion": SCHEMA_VERSION,
            "project": self.project,
            "stack": self.stack,
            "kubeconfig": self.kubeconfig,
            "kubeContext": self.kube_context,
            "clusterUid": self.cluster_uid,
            "operator": {"namespace": self.operator_namespace, "version": self.operator_version},
            "prometheus": self.prometheus,
            "clusters": [cluster.to_dict() for cluster in self.clusters],
        }


def parse(text: str, source: str) -> Contract:
    """Reads the contract in a JSON text.

    Args:
        text: the contract, or all outputs of a stack with the contract among them.
        source: name of the contract in error messages.

    Raises:
        Refused: it is not a contract of a known version. The message names the field.
    """
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise Refused(f"{source} is not JSON: {error}", REMEDY) from error
    # `pulumi stack output --json` without a name prints all outputs.
    if isinstance(raw, dict) and "schemaVersion" not in raw and isinstance(raw.get("contract"), dict):
        raw = raw["contract"]
    if not isinstance(raw, dict) or not isinstance(raw.get("schemaVersion"), int):
        raise Refused(f"{source} is not the outputs contract: it has no schemaVersion.", REMEDY)
    if raw["schemaVersion"] > SCHEMA_VERSION:
        raise Refused(
            f"{source} has schemaVersion {raw['schemaVersion']}; this version of rayjobs reads up to {SCHEMA_VERSION}.",
            "Update rayjobs.",
        )
    reader = _Reader(source)
    operator = raw.get("operator") or {}
    if not isinstance(operator, dict):
        raise Refused(f"{source}: operator must be an object.", REMEDY)
    clusters = raw.get("clusters")
    if not isinstance(clusters, list):
        raise Refused(f"{source}: clusters must be a list.", REMEDY)
    return Contract(
        source=source,
        project=reader.text(raw, "project"),
        stack=reader.text(raw, "stack"),
        kubeconfig=reader.text(raw, "kubeconfig"),
        kube_context=reader.text(raw, "kubeContext"),
        cluster_uid=reader.text(raw, "clusterUid"),
        operator_namespace=reader.name(operator, "namespace", "operator.", LABEL),
        operator_version=reader.text(operator, "version"),
        clusters=tuple(reader.cluster(entry, f"clusters[{index}]") for index, entry in enumerate(clusters)),
        prometheus=reader.http_url(raw, "prometheus"),
    )


class _Reader:
    """Reads fields of one contract, with errors that name it."""

    def __init__(self, source: str) -> None:
        self.source = source

    def refused(self, problem: str) -> Refused:
        return Refused(f"{self.source}: {problem}.", REMEDY)

    def text(self, raw: Mapping[str, Any], key: str, place: str = "") -> str | None:
        value = raw.get(key)
        if value is not None and not isinstance(value, str):
            raise self.refused(f"{place}{key} must be a string, it is {value!r}")
        return value or None

    def http_url(self, raw: Mapping[str, Any], key: str) -> str | None:
        value = self.text(raw, key)
        if value is not None and (problem := http_url_problem(value)):
            raise self.refused(f"{key} {problem}")
        return value

    def name(self, raw: Mapping[str, Any], key: str, place: str, grammar: Grammar) -> str | None:
        """A name in Kubernetes. It becomes a part of API paths, so it is checked before any request."""
        value = self.text(raw, key, place)
        if value is not None and not grammar.accepts(value):
            raise self.refused(f"{place}{key} {value[:100]!r} is not a name in Kubernetes; allowed: {grammar.allowed}")
        return value

    def required_name(self, raw: Mapping[str, Any], key: str, place: str, grammar: Grammar) -> str:
        value = self.name(raw, key, place, grammar)
        if value is None:
            raise self.refused(f"{place}{key} is missing")
        return value

    def cluster(self, raw: Any, place: str) -> Cluster:
        if not isinstance(raw, dict):
            raise self.refused(f"{place} must be an object")
        port = self.port(raw.get("dashboardPort", DASHBOARD_PORT), f"{place}.dashboardPort")
        secret = raw.get("authSecret")
        if secret is not None and not (isinstance(secret, dict) and secret.get("name") and secret.get("key")):
            raise self.refused(f"{place}.authSecret must have name and key, or be null")
        auth_secret = None
        if secret:
            inside = f"{place}.authSecret."
            auth_secret = (
                self.required_name(secret, "name", inside, SUBDOMAIN),
                self.required_name(secret, "key", inside, DATA_KEY),
            )
        return Cluster(
            name=self.required_name(raw, "name", f"{place}.", SUBDOMAIN),
            namespace=self.required_name(raw, "namespace", f"{place}.", LABEL),
            head_service=self.required_name(raw, "headService", f"{place}.", LABEL),
            dashboard_port=port,
            ray_version=self.text(raw, "rayVersion"),
            external_url=self.text(raw, "externalUrl"),
            auth_secret=auth_secret,
            keeper=self.keeper(raw.get("keeper"), f"{place}.keeper"),
        )

    def keeper(self, raw: Any, place: str) -> KeeperService | None:
        if raw is None:
            return None
        if not isinstance(raw, dict):
            raise self.refused(f"{place} must have service and port, or be null")
        service = self.required_name(raw, "service", f"{place}.", LABEL)
        return KeeperService(service, self.port(raw.get("port"), f"{place}.port"))

    def port(self, value: Any, place: str) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # Pulumi's numbers are floats.
        if not isinstance(value, int) or not 0 < value < 65536:
            raise self.refused(f"{place} must be a port, it is {value!r}")
        return value
