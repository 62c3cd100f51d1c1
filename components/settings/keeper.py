"""Settings of a RayCluster's keeper: the key `keeper` of an entry of `clusters`."""

# ruff: noqa: RUF012 (pydantic copies defaults)

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from components.settings.fields import Cpu, FieldProblems, Image, Labels, Memory, Model, ObjectName
from jobs.kubernetes.quantities import parse_quantity

PORT = 8270
# Of the volume, for logs. The rest is for the database, and for what arrives between two clean-ups.
LOGS_PERCENT = 80
# The most that `retainBytes` may be of it: a file system takes some of a volume for itself.
MOST_LOGS_PERCENT = 90
LEAST_STORAGE, LEAST_LOG = "100Mi", "1Mi"
# One job that never stops to print leaves room for the others.
PARTS_OF_ONE_LOG = 4


class KeeperRequests(Model):
    """Requests of the keeper's container."""

    cpu: Cpu | None = None
    """CPUs. Default: 100m, or the limit if that is less."""
    memory: Memory | None = None
    """Bytes. Default: 256Mi, or the limit if that is less."""


class KeeperResources(Model):
    """Resources of the keeper's container."""

    cpu: Cpu = "1"
    """CPU limit."""
    memory: Memory = "512Mi"
    """Memory limit."""
    requests: KeeperRequests = KeeperRequests()
    """Requests."""

    @property
    def cpu_request(self) -> str:
        return self.requests.cpu or min("100m", self.cpu, key=parse_quantity)

    @property
    def memory_request(self) -> str:
        return self.requests.memory or min("256Mi", self.memory, key=parse_quantity)


class Keeper(Model):
    """Keeps every job of the cluster, whoever submitted it, with its whole log: docs/keeper.md."""

    image: Image | None = None
    """Image of the keeper. Required: none is published. `make image IMAGE=NAME` builds it; push it to your registry."""
    storage: Memory = "10Gi"
    """Size of the volume, at least 100Mi. It can grow if its StorageClass allows that. It cannot shrink."""
    storage_class: ObjectName | None = None
    """StorageClass of the volume. A volume cannot change its class. Default: the default class of the Kubernetes
    cluster."""
    retain_days: Annotated[int, Field(ge=1)] = 90
    """Days that an ended job is kept."""
    retain_bytes: Memory | None = None
    """Bytes of all logs together, as they are on the volume. If there are more, the jobs that ended first are removed.
    At most 90 % of `storage`. Default: 80 %; the rest is for the database."""
    log_bytes: Memory | None = None
    """Bytes of one log, as the job wrote it, at least 1Mi. Of a longer one the first and the last half are kept.
    Default: a quarter of `retainBytes`."""
    resources: KeeperResources = KeeperResources()
    """Resources of the keeper's container."""
    retain: bool = False
    """Keep the volume when the stack is destroyed or `keeper` is removed, and its namespace, if the stack created
    it."""
    ready_timeout_seconds: Annotated[int, Field(ge=10)] = 600
    """Seconds that `up` waits until the keeper keeps, 10 to 86400."""
    image_pull_secrets: list[ObjectName] = []
    """Secrets for pulling the image."""
    node_selector: Labels = {}
    """Labels that the node must have."""
    tolerations: list[dict[str, Any]] = []
    """Tolerations, as in Kubernetes."""

    @property
    def most_log_bytes(self) -> int:
        """The bytes of all logs together: `retainBytes`, or its default."""
        if self.retain_bytes:
            return int(parse_quantity(self.retain_bytes))
        return int(parse_quantity(self.storage)) * LOGS_PERCENT // 100

    @property
    def most_bytes_of_one(self) -> int:
        """The bytes of one log: `logBytes`, or its default."""
        return int(parse_quantity(self.log_bytes)) if self.log_bytes else self.most_log_bytes // PARTS_OF_ONE_LOG

    @model_validator(mode="after")
    def _check(self) -> Keeper:
        problems = FieldProblems()
        if self.image is None:
            way = "build it with `make image IMAGE=registry.example.com/rayjobs:0.1.0` and push it to your registry"
            problems.add("image", f"is missing: no image of the keeper is published; {way}")
        if parse_quantity(self.storage) < parse_quantity(LEAST_STORAGE):
            problems.add("storage", f'"{self.storage}": too small; allowed: from {LEAST_STORAGE} on')
        if self.most_log_bytes > parse_quantity(self.storage) * MOST_LOGS_PERCENT / 100:
            text = f"`storage` ({self.storage}) holds the database too; allowed: up to {MOST_LOGS_PERCENT} % of it"
            problems.add("retainBytes", f'"{self.retain_bytes}": {text}')
        if self.log_bytes and self.most_bytes_of_one < parse_quantity(LEAST_LOG):
            problems.add("logBytes", f'"{self.log_bytes}": too small; allowed: from {LEAST_LOG} on')
        for key in ("cpu", "memory"):
            request, limit = getattr(self.resources.requests, key), getattr(self.resources, key)
            if request and parse_quantity(request) > parse_quantity(limit):
                problems.add(f"resources.requests.{key}", f'"{request}": above the limit; allowed: up to {limit}')
        if self.ready_timeout_seconds > 24 * 3600:
            problems.add("readyTimeoutSeconds", f"{self.ready_timeout_seconds}: allowed: 10 to 86400")
        problems.raise_if_any()
        return self
