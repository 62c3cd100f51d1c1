"""Settings of who reaches a cluster and what guards it."""

# ruff: noqa: RUF012 (pydantic copies defaults)

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from components.settings.fields import (
    HOST,
    Annotations,
    Cpu,
    Image,
    Labels,
    Memory,
    Model,
    Namespace,
    ObjectName,
    Problems,
    amount,
    of_form,
)
from components.settings.pods import Object, SecretKey

SELECTORS = ("podSelector", "namespaceSelector")
PEER_KEYS = {*SELECTORS, "ipBlock"}
SELECTOR_KEYS = {"matchLabels", "matchExpressions"}


def _network(value: Any) -> Any:
    if not isinstance(value, str) or not re.fullmatch(r"[^/]+/\d+", value):
        raise ValueError("no network; allowed: such as 10.0.0.0/8")
    try:
        ipaddress.ip_network(value)
    except ValueError as error:
        raise ValueError(f"{error}; allowed: such as 10.0.0.0/8") from None
    return value


def _peers(peers: list[Object]) -> list[Object]:
    for peer in peers:
        _peer(peer)
    return peers


def _peer(peer: Object) -> None:
    """A field that the API server does not know would be dropped, and what is left may be everybody."""
    # An empty peer would be read as everybody by a person and as nobody by Kubernetes.
    if not peer or set(peer) - PEER_KEYS:
        raise ValueError(f"not peers of a NetworkPolicy; allowed in each: {', '.join(sorted(PEER_KEYS))}")
    if "ipBlock" in peer:
        block = peer["ipBlock"]
        fields = set(block) if isinstance(block, Mapping) else set()
        if len(peer) > 1 or "cidr" not in fields or fields - {"cidr", "except"}:
            raise ValueError("ipBlock: allowed: alone in its peer, with cidr and except")
        for network in (block["cidr"], *(block.get("except") or [])):
            _network(network)
    for key in SELECTORS:
        selector = peer.get(key, {})
        if not isinstance(selector, Mapping) or set(selector) - SELECTOR_KEYS:
            raise ValueError(f"{key}: allowed: an object with {', '.join(sorted(SELECTOR_KEYS))}; {{}} is all of them")
        if not isinstance(selector.get("matchLabels", {}), Mapping):
            raise ValueError(f"{key}.matchLabels: allowed: an object")
        if not isinstance(selector.get("matchExpressions", []), list):
            raise ValueError(f"{key}.matchExpressions: allowed: a list")


class NetworkPolicy(Model):
    """Who reaches the pods: the cluster itself, its namespace, the operator, metrics; `allowFrom` for more."""

    enabled: bool = True
    allow_from: Annotated[list[Object], AfterValidator(_peers)] = []

    @model_validator(mode="after")
    def _check(self) -> NetworkPolicy:
        if self.allow_from and not self.enabled:
            Problems.check([("allowFrom", "set, but `enabled` is false; remove one of the two")])
        return self


class Ingress(Model):
    """The Jobs API and dashboard from outside, over TLS; needs token authentication."""

    host: Annotated[str, of_form(HOST, "a host's name such as ray.example.com", "no host name")]
    tls_secret: ObjectName
    class_name: ObjectName | None = None
    annotations: Annotations = {}
    """Such as `cert-manager.io/cluster-issuer`, which then fills `tlsSecret`."""
    controller_namespace: Namespace | None = None
    """Where the ingress controller runs: let through by the NetworkPolicy."""


class LoadBalancer(Model):
    """A Service of type LoadBalancer on the Jobs API, in clear text: for private networks only."""

    source_ranges: Annotated[list[Annotated[str, AfterValidator(_network)]], Field(min_length=1)]
    annotations: Annotations = {}


class ServiceAccount(Model):
    """One for each cluster; on workers its token is not mounted."""

    create: bool = True
    annotations: Annotations = {}
    """Such as those that tie it to an identity of the cloud."""

    @model_validator(mode="after")
    def _check(self) -> ServiceAccount:
        if self.annotations and not self.create:
            Problems.check([("annotations", "set, but `create` is false; remove one of the two")])
        return self


class Subject(Model):
    """Who may run jobs."""

    kind: Literal["User", "Group", "ServiceAccount"]
    name: Annotated[str, Field(min_length=1)]
    namespace: Namespace | None = None

    @model_validator(mode="after")
    def _check(self) -> Subject:
        if (self.kind == "ServiceAccount") != (self.namespace is not None):
            Problems.check([("namespace", "belongs to a ServiceAccount, and only to one")])
        return self


def _address(value: str) -> str:
    found = re.fullmatch(r"(rediss?://)?[^/:@\s]+:(\d{1,5})", value)
    if not found or not 0 < int(found.group(2)) < 65536:
        raise ValueError("no address; allowed: host:port or rediss://host:port, the password as `password`")
    return value


class Redis(Model):
    """Where the head keeps its state: one in the cluster for trial, or one of yours."""

    in_cluster: bool = False
    image: Image = "redis:7"
    address: Annotated[str, AfterValidator(_address)] | None = None
    username: SecretKey | None = None
    password: SecretKey | None = None

    @model_validator(mode="after")
    def _check(self) -> Redis:
        problems = []
        if self.in_cluster == (self.address is not None):
            problems.append(("address", "exactly one of `address` and `inCluster: true` is needed"))
        if self.address and not self.password:
            problems.append(("password", "missing: a Redis of one's own needs one, as {secret, key}"))
        if self.in_cluster and self.username:
            problems.append(("username", "the Redis in the cluster has no users; leave it out"))
        Problems.check(problems)
        return self


class FaultTolerance(Model):
    """The head's state outlives the head."""

    redis: Redis
    storage_namespace: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")] | None = None
    """Default: the RayCluster's UID, so that a cluster made anew never finds the state of the one before."""
    deletion_timeout_seconds: Annotated[int, Field(ge=0)] = 120
    """How long the operator tries to clean Redis when the cluster goes; 0: KubeRay before v1.7, which has no end."""


class Quota(Model):
    """A ResourceQuota on requests."""

    cpu: Cpu | None = None
    memory: Memory | None = None
    gpu: Annotated[int, Field(ge=0)] | None = None
    pods: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _check(self) -> Quota:
        if all(size is None for _, size in self):
            Problems.check([("", "empty, it would bound nothing; allowed: cpu, memory, gpu, pods, or `quota: fit`")])
        return self


def _fit(value: Any) -> Any:
    if value != "fit":
        raise ValueError("allowed: fit, or an object with cpu, memory, gpu, pods")
    return value


def _branch(value: Any) -> str:
    return "<sizes>" if isinstance(value, (dict, Quota)) else "<fit>"


AnyQuota = Annotated[
    Annotated[Quota, Tag("<sizes>")] | Annotated[Literal["fit"], BeforeValidator(_fit), Tag("<fit>")],
    Discriminator(_branch),
]


class Sizes(Model):
    cpu: Cpu | None = None
    memory: Memory | None = None


class Limits(Model):
    """A LimitRange on containers."""

    default: Sizes = Sizes()
    default_request: Sizes = Sizes()
    max: Sizes = Sizes()

    @model_validator(mode="after")
    def _check(self) -> Limits:
        problems = []
        order = (("defaultRequest", self.default_request), ("default", self.default), ("max", self.max))
        for place, (key, sizes) in enumerate(order):
            for above, bound in order[place + 1 :]:
                for kind, size in sizes:
                    limit = getattr(bound, kind)
                    if size and limit and amount(size) > amount(limit):
                        problems.append((f"{key}.{kind}", f'"{size}": above `{above}`; allowed: up to {limit}'))
        if not any(size for _, sizes in order for _, size in sizes):
            problems.append(("", "empty, it would bound nothing; allowed: default, defaultRequest, max"))
        Problems.check(problems)
        return self


ENFORCE = "pod-security.kubernetes.io/enforce"


class NamespaceSettings(Model):
    """An entry of `namespaces`: what guards one of the stack's namespaces."""

    labels: Labels = {}
    pod_security: Literal["privileged", "baseline", "restricted"] | None = None
    quota: AnyQuota | None = None
    """`fit`: what the clusters in it take at their largest, sidecars included."""
    limits: Limits | None = None

    @model_validator(mode="after")
    def _check(self) -> NamespaceSettings:
        if ENFORCE in self.labels:
            Problems.check([("labels", f"{ENFORCE}: allowed: `podSecurity`, of which the clusters in it are checked")])
        return self

    def namespace_labels(self) -> dict[str, str]:
        level = self.pod_security
        modes = {f"pod-security.kubernetes.io/{mode}": level for mode in ("enforce", "warn")} if level else {}
        return {**self.labels, **modes}


def subject(one: Subject) -> dict[str, Any]:
    """As a RoleBinding has it."""
    if one.kind == "ServiceAccount":
        return {"kind": one.kind, "name": one.name, "namespace": one.namespace}
    return {"kind": one.kind, "name": one.name, "apiGroup": "rbac.authorization.k8s.io"}
