"""Settings of access to a cluster (network, identity, users), of its Redis, and of its namespace's limits."""

# ruff: noqa: RUF012 (pydantic copies defaults)

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from components.settings.env import SecretKey
from components.settings.fields import (
    HOST,
    Annotations,
    Cpu,
    FieldProblems,
    Image,
    Labels,
    Memory,
    Model,
    Namespace,
    ObjectName,
    matching,
)
from components.settings.pods import Object
from jobs.kubernetes.quantities import parse_quantity

SELECTORS = ("podSelector", "namespaceSelector")
PEER_KEYS = {*SELECTORS, "ipBlock"}
SELECTOR_KEYS = {"matchLabels", "matchExpressions"}


Network = ipaddress.IPv4Network | ipaddress.IPv6Network
PRIVATE_IPV4 = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16")
PRIVATE = [ipaddress.ip_network(cidr) for cidr in (*PRIVATE_IPV4, "fc00::/7", "fe80::/10", "::1/128")]
IPV4_IN_IPV6 = ipaddress.IPv6Network("::ffff:0:0/96")
# A larger range is more than one organisation. An office or a VPN has a smaller one.
LARGEST_PUBLIC = {4: 16, 6: 32}


def public_ranges(cidrs: Iterable[str]) -> list[str]:
    """Returns large address ranges of the internet in `cidrs`, such as 0.0.0.0/0. Neighbours count as one range."""
    networks: dict[int, list[Any]] = {4: [], 6: []}
    for cidr in cidrs:
        network = _as_ipv4(ipaddress.ip_network(cidr))
        if not _is_private(network):
            networks[network.version].append(network)
    ranges = [network for version in networks.values() for network in ipaddress.collapse_addresses(version)]
    return [str(network) for network in ranges if network.prefixlen < LARGEST_PUBLIC[network.version]]


def _as_ipv4(network: Network) -> Network:
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(IPV4_IN_IPV6):
        return ipaddress.IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
    return network


def _is_private(network: Network) -> bool:
    private: list[Any] = [each for each in PRIVATE if each.version == network.version]
    return any(map(network.subnet_of, private))


def _network(value: Any) -> Any:
    if not isinstance(value, str) or not re.fullmatch(r"[^/]+/\d+", value):
        raise ValueError("not a network; allowed: an address range such as 10.0.0.0/8")
    try:
        ipaddress.ip_network(value)
    except ValueError as error:
        raise ValueError(f"{error}; allowed: an address range such as 10.0.0.0/8") from None
    return value


def _peers(peers: list[Object]) -> list[Object]:
    for peer in peers:
        _check_peer(peer)
    return peers


def _check_peer(peer: Object) -> None:
    """Raises ValueError for a field that is unknown: the API server would drop it, and the rest may match every pod."""
    # People read an empty peer as every pod, Kubernetes reads it as none.
    if not peer or set(peer) - PEER_KEYS:
        raise ValueError(f"not a list of NetworkPolicy peers; allowed in each: {', '.join(sorted(PEER_KEYS))}")
    if "ipBlock" in peer:
        block = peer["ipBlock"]
        fields = set(block) if isinstance(block, Mapping) else set()
        if len(peer) > 1 or "cidr" not in fields or fields - {"cidr", "except"}:
            raise ValueError("ipBlock: allowed: cidr and except, and no selector beside it")
        for network in (block["cidr"], *(block.get("except") or [])):
            _network(network)
    for key in SELECTORS:
        selector = peer.get(key, {})
        if not isinstance(selector, Mapping) or set(selector) - SELECTOR_KEYS:
            raise ValueError(f"{key}: allowed: an object with {', '.join(sorted(SELECTOR_KEYS))}; {{}} matches all")
        labels, expressions = selector.get("matchLabels", {}), selector.get("matchExpressions", [])
        if not isinstance(labels, Mapping):
            raise ValueError(f"{key}.matchLabels: allowed: an object")
        if not isinstance(expressions, list) or not all(isinstance(each, Mapping) for each in expressions):
            raise ValueError(f"{key}.matchExpressions: allowed: a list of objects")
        values = [*labels.values(), *(value for each in expressions for value in each.get("values") or [])]
        if not all(isinstance(value, str) for value in values):
            raise ValueError(f"{key}: a value is a number or a boolean; allowed: text, write it in quotes")


Peers = Annotated[list[Object], AfterValidator(_peers)]


def allows_every_pod(peers: Iterable[Object]) -> bool:
    """Returns whether one of the peers is every pod of the Kubernetes cluster."""
    return any(
        "namespaceSelector" in peer and not any(any((peer.get(key) or {}).values()) for key in SELECTORS)
        for peer in peers
    )


class NetworkPolicy(Model):
    """Who can connect to the pods: the cluster's own pods, its namespace, the operator, scrapers of metrics."""

    enabled: bool = True
    """Create the NetworkPolicies. They need a network plugin (CNI) that enforces them."""
    allow_from: Peers = []
    """More peers, as in a NetworkPolicy, that can reach the dashboard, Ray Client and Serve. Every field is checked."""

    @model_validator(mode="after")
    def _check(self) -> NetworkPolicy:
        if self.allow_from and not self.enabled:
            raise FieldProblems(("allowFrom", "set, but `enabled` is false; remove one of them"))
        return self

    @property
    def ranges(self) -> list[str]:
        """The address ranges of `allowFrom`."""
        return [peer["ipBlock"]["cidr"] for peer in self.allow_from if "ipBlock" in peer]

    @property
    def allows_every_pod(self) -> bool:
        """Whether every pod of the Kubernetes cluster can connect."""
        return not self.enabled or allows_every_pod(self.allow_from)


# With these the load balancer of a cloud has the certificate, and no Secret holds it: AWS, GKE (two), Azure.
CERTIFICATE_ANNOTATIONS = (
    "alb.ingress.kubernetes.io/certificate-arn",
    "networking.gke.io/managed-certificates",
    "ingress.gcp.kubernetes.io/pre-shared-cert",
    "appgw.ingress.kubernetes.io/appgw-ssl-certificate",
)
# Its ports decide for an ALB. With HTTPS and without the ARN, the controller finds the certificate by the host:
# https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/ingress/cert_discovery/
ALB_PORTS = "alb.ingress.kubernetes.io/listen-ports"


class Ingress(Model):
    """The Jobs API and the dashboard from outside, over TLS. Needs token authentication."""

    host: Annotated[str, matching(HOST, "a name such as ray.example.com", "not a host name")]
    """Host name."""
    tls_secret: ObjectName | None = None
    """Secret with the certificate. Required, unless an annotation gives the load balancer of a cloud its certificate,
    such as `alb.ingress.kubernetes.io/certificate-arn`."""
    class_name: ObjectName | None = None
    """IngressClass. Default: the cluster's default class."""
    annotations: Annotations = {}
    """Annotations of the Ingress. `cert-manager.io/cluster-issuer`, for one, fills `tlsSecret`."""
    controller_namespace: Namespace | None = None
    """Namespace of the ingress controller, which the NetworkPolicy then lets in. The load balancer of a cloud is in
    none: let the ranges of its subnets in with `networkPolicy.allowFrom`."""

    @model_validator(mode="after")
    def _check(self) -> Ingress:
        if not self.tls_secret and not self._has_cloud_certificate:
            text = "is missing: without TLS the token could be read on the way; allowed: a Secret with the certificate"
            annotations = f"{', '.join(CERTIFICATE_ANNOTATIONS)}, or {ALB_PORTS} with HTTPS"
            raise FieldProblems(("tlsSecret", f"{text}, or one of the annotations {annotations}"))
        return self

    @property
    def _has_cloud_certificate(self) -> bool:
        """Whether the load balancer of a cloud serves HTTPS with a certificate of its own."""
        if ALB_PORTS in self.annotations:
            return '"HTTPS"' in self.annotations[ALB_PORTS]
        return any(self.annotations.get(key) for key in CERTIFICATE_ANNOTATIONS)


class LoadBalancer(Model):
    """A Service of type LoadBalancer for the Jobs API, without TLS: for private networks only."""

    source_ranges: Annotated[list[Annotated[str, AfterValidator(_network)]], Field(min_length=1)]
    """Address ranges that can connect."""
    annotations: Annotations = {}
    """Annotations of the Service, which most clouds need for an internal load balancer."""


class ServiceAccount(Model):
    """The ServiceAccount of the cluster's pods. Only the autoscaler's container gets its token."""

    create: bool = True
    """Create a ServiceAccount for the cluster. `false`: KubeRay's default, or `serviceAccountName` of the pods."""
    annotations: Annotations = {}
    """Annotations of the ServiceAccount, such as those that bind it to an identity of the cloud."""

    @model_validator(mode="after")
    def _check(self) -> ServiceAccount:
        if self.annotations and not self.create:
            raise FieldProblems(("annotations", "set, but `create` is false; remove one of them"))
        return self


# Kubernetes reserves the prefix `system:` for itself. These two forms name single accounts, or those of one namespace.
RESERVED = "system:"
BOUNDED = {"User": r"system:serviceaccount:[-a-z0-9]+:[-.a-z0-9]+", "Group": r"system:serviceaccounts:[-a-z0-9]+"}


class Subject(Model):
    """A user, group or ServiceAccount that gets the Role for jobs."""

    kind: Literal["User", "Group", "ServiceAccount"]
    """Kind of the subject."""
    name: Annotated[str, Field(min_length=1)]
    """Name of the subject. Kubernetes' own names (`system:...`) are refused: most of them stand for everybody."""
    namespace: Namespace | None = None
    """Namespace of a ServiceAccount; refused for the other kinds."""
    exec: bool = False
    """Also allow commands in every container of every pod of the namespace (`pods/exec`). The autoscaler's container
    holds a token that can change pods. `rayjobs` needs this right for nothing but one step of `check`."""

    @model_validator(mode="after")
    def _check(self) -> Subject:
        problems = FieldProblems()
        if (self.kind == "ServiceAccount") != (self.namespace is not None):
            problems.add("namespace", "a ServiceAccount requires it, no other kind can have it")
        if self.name.startswith(RESERVED) and not re.fullmatch(BOUNDED.get(self.kind, "(?!)"), self.name):
            text = "stands for everybody, for anonymous callers or for a part of Kubernetes; allowed: a user or a group"
            problems.add(
                "name", f'"{self.name}": {text} of people, a ServiceAccount, or system:serviceaccounts:NAMESPACE'
            )
        problems.raise_if_any()
        return self

    @property
    def shown(self) -> str:
        """Kind, name and right to exec, as errors show them."""
        return (
            f"{self.kind} {f'{self.namespace}/' if self.namespace else ''}{self.name}{' (exec)' if self.exec else ''}"
        )


def _address(value: str) -> str:
    match = re.fullmatch(r"(rediss?://)?([^/:@\s\[\]]+|\[([^\[\]@/\s]+)\]):(\d{1,5})", value)
    if not match or not 0 < int(match.group(4)) < 65536 or not _is_ipv6(match.group(3) or "::"):
        allowed = "host:port, [IPv6]:port, each with redis:// or rediss:// in front"
        raise ValueError(f"not an address; allowed: {allowed}. Set the password as `password`")
    return value


def _is_ipv6(value: str) -> bool:
    try:
        ipaddress.IPv6Address(value)
    except ValueError:
        return False
    return True


class Redis(Model):
    """The Redis in which the head keeps its state: one beside the cluster for trial, or one of yours."""

    in_cluster: bool = False
    """Run one Redis pod beside the cluster, for trial: it keeps everything in memory. Without `password` only its
    NetworkPolicy protects it: your CNI has to enforce them."""
    image: Image = "redis:7.4.6"
    """Image of that pod."""
    address: Annotated[str, AfterValidator(_address)] | None = None
    """Your Redis, as `host:port` or `rediss://host:port`; an IPv6 address in brackets. Requires `password`, or
    `allow: [redis-without-password]` of the cluster."""
    username: SecretKey | None = None
    """User name for your Redis, as `{secret, key}`."""
    password: SecretKey | None = None
    """Password, as `{secret, key}`."""

    @model_validator(mode="after")
    def _check(self) -> Redis:
        problems = FieldProblems()
        if self.in_cluster == (self.address is not None):
            problems.add("address", "set exactly one of `address` and `inCluster: true`")
        if self.username and not self.password:
            problems.add("username", "set without `password`; allowed: both, or none")
        if self.in_cluster and self.username:
            problems.add("username", "the Redis in the cluster has no users; remove it")
        problems.raise_if_any()
        return self


class FaultTolerance(Model):
    """GCS fault tolerance: the state of the head survives the loss of its pod."""

    redis: Redis
    """Where the state is kept."""
    storage_namespace: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")] | None = None
    """Namespace of the keys in Redis. Default: the UID of the RayCluster: a new cluster never finds old state."""
    deletion_timeout_seconds: Annotated[int, Field(ge=0)] = 120
    """Seconds that the clean-up of Redis can delay `destroy`. 0: no limit, the only choice before KubeRay v1.7."""


class Quota(Model):
    """A ResourceQuota on requests."""

    cpu: Cpu | None = None
    """CPUs. Default: no limit."""
    memory: Memory | None = None
    """Bytes. Default: no limit."""
    gpu: Annotated[int, Field(ge=0)] | None = None
    """GPUs (`nvidia.com/gpu`). Default: no limit."""
    pods: Annotated[int, Field(ge=1)] | None = None
    """Pods. Default: no limit."""

    @model_validator(mode="after")
    def _check(self) -> Quota:
        if all(size is None for _, size in self):
            raise FieldProblems(("", "empty, it would limit nothing; allowed: cpu, memory, gpu, pods, or `quota: fit`"))
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
    """CPU and memory of a container."""

    cpu: Cpu | None = None
    """CPUs."""
    memory: Memory | None = None
    """Bytes."""


class Limits(Model):
    """A LimitRange on containers."""

    default: Sizes = Sizes()
    """Limits of a container that states none."""
    default_request: Sizes = Sizes()
    """Requests of a container that states none."""
    max: Sizes = Sizes()
    """Highest limits of a container."""

    @model_validator(mode="after")
    def _check(self) -> Limits:
        problems = FieldProblems()
        ascending = (("defaultRequest", self.default_request), ("default", self.default), ("max", self.max))
        for place, (key, sizes) in enumerate(ascending):
            for upper_key, upper in ascending[place + 1 :]:
                for resource, size in sizes:
                    limit = getattr(upper, resource)
                    if size and limit and parse_quantity(size) > parse_quantity(limit):
                        problems.add(f"{key}.{resource}", f'"{size}": above `{upper_key}`; allowed: up to {limit}')
        if not any(size for _, sizes in ascending for _, size in sizes):
            problems.add("", "empty, it would limit nothing; allowed: default, defaultRequest, max")
        problems.raise_if_any()
        return self


ENFORCE_LABEL = "pod-security.kubernetes.io/enforce"


class NamespaceSettings(Model):
    """An entry of `namespaces`: labels and limits of one namespace of the stack."""

    labels: Labels = {}
    """Labels of a namespace that the stack creates."""
    pod_security: Literal["privileged", "baseline", "restricted"] | None = None
    """Pod Security level that the namespace enforces. Default: none."""
    quota: AnyQuota | None = None
    """ResourceQuota: `fit`, or sizes. `fit` is what its clusters request at their largest, sidecars and the operator
    included."""
    limits: Limits | None = None
    """LimitRange."""

    @model_validator(mode="after")
    def _check(self) -> NamespaceSettings:
        if ENFORCE_LABEL in self.labels:
            text = f"{ENFORCE_LABEL}: allowed: `podSecurity`, against which the clusters are checked"
            raise FieldProblems(("labels", text))
        return self

    def namespace_labels(self) -> dict[str, str]:
        """Labels of the Namespace object, with those of its Pod Security level."""
        level = self.pod_security
        modes = {f"pod-security.kubernetes.io/{mode}": level for mode in ("enforce", "warn")} if level else {}
        return {**self.labels, **modes}
