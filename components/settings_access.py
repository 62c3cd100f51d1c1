"""Settings of who reaches a cluster and what guards it."""

# ruff: noqa: RUF012 (pydantic copies defaults)

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from components.model import Cpu, Memory, Model, Namespace, ObjectName, Problems, Text
from components.settings_pods import Object, SecretKey

PEER_KEYS = {"podSelector", "namespaceSelector", "ipBlock"}


def _peers(peers: list[Object]) -> list[Object]:
    wrong = [peer for peer in peers if not peer or set(peer) - PEER_KEYS]
    if wrong:
        # An empty peer would be read as everybody by a person and as nobody by Kubernetes.
        raise ValueError(f"not peers of a NetworkPolicy; allowed in each: {', '.join(sorted(PEER_KEYS))}")
    return peers


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

    host: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
    tls_secret: ObjectName
    class_name: ObjectName | None = None
    annotations: dict[str, Text] = {}
    """Such as `cert-manager.io/cluster-issuer`, which then fills `tlsSecret`."""
    controller_namespace: Namespace | None = None
    """Where the ingress controller runs: let through by the NetworkPolicy."""


class LoadBalancer(Model):
    """A Service of type LoadBalancer on the Jobs API, in clear text: for private networks only."""

    source_ranges: Annotated[list[Annotated[str, Field(pattern=r"^[0-9a-fA-F.:]+/\d+$")]], Field(min_length=1)]
    annotations: dict[str, Text] = {}


class ServiceAccount(Model):
    """One for each cluster; on workers its token is not mounted."""

    create: bool = True
    annotations: dict[str, Text] = {}
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


class Redis(Model):
    """Where the head keeps its state: one in the cluster for trial, or one of yours."""

    in_cluster: bool = False
    image: Annotated[str, Field(min_length=1)] = "redis:7"
    address: Annotated[str, Field(pattern=r"^(rediss?://)?[^/:\s]+:\d+$")] | None = None
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


class Sizes(Model):
    cpu: Cpu | None = None
    memory: Memory | None = None


class Limits(Model):
    """A LimitRange on containers."""

    default: Sizes = Sizes()
    default_request: Sizes = Sizes()
    max: Sizes = Sizes()


class NamespaceSettings(Model):
    """An entry of `namespaces`: what guards one of the stack's namespaces."""

    labels: dict[str, Text] = {}
    pod_security: Literal["privileged", "baseline", "restricted"] | None = None
    quota: Quota | Literal["fit"] | None = None
    """`fit`: what the clusters in it take at their largest, sidecars included."""
    limits: Limits | None = None

    def namespace_labels(self) -> dict[str, str]:
        level = self.pod_security
        modes = {f"pod-security.kubernetes.io/{mode}": level for mode in ("enforce", "warn")} if level else {}
        return {**self.labels, **modes}


def subject(one: Subject) -> dict[str, Any]:
    """As a RoleBinding has it."""
    if one.kind == "ServiceAccount":
        return {"kind": one.kind, "name": one.name, "namespace": one.namespace}
    return {"kind": one.kind, "name": one.name, "apiGroup": "rbac.authorization.k8s.io"}
