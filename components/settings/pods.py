"""Settings of Ray pods: what a head and the workers of a group have in common."""

# ruff: noqa: RUF012 (pydantic copies defaults)

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, model_validator

from components.settings.fields import (
    LABEL_NAME,
    PREFIX,
    Annotations,
    Cpu,
    EnvName,
    GroupName,
    Int32,
    Labels,
    Memory,
    Model,
    ObjectName,
    Problems,
    Text,
    amount,
    of_form,
)

Object = dict[str, Any]
# Numbers that Ray would read twice, from the start parameters and from `resources`; the operator refuses both.
START_RESOURCES = ("num-cpus", "num-gpus", "memory", "resources")


class Requests(Model):
    """Where they differ from the limits."""

    cpu: Cpu | None = None
    memory: Memory | None = None


class SecretKey(Model):
    """One key of a Secret in the cluster's namespace."""

    secret: ObjectName
    key: Annotated[str, Field(min_length=1)]


def _branch(value: Any) -> str:
    return "<secret>" if isinstance(value, (dict, SecretKey)) else "<text>"


EnvValue = Annotated[Annotated[Text, Tag("<text>")] | Annotated[SecretKey, Tag("<secret>")], Discriminator(_branch)]


class Pod(Model):
    """Objects (`tolerations`, `affinity`, ...) are as Kubernetes has them, checked against the CRD's schema."""

    cpu: Cpu = "1"
    memory: Memory = "1Gi"
    requests: Requests = Requests()
    gpu: Annotated[int, Field(ge=0)] = 0
    gpu_resource: Annotated[str, of_form(rf"{PREFIX}/{LABEL_NAME}", "such as nvidia.com/gpu")] = "nvidia.com/gpu"
    ephemeral_storage: Memory | None = None
    ray_start_params: dict[str, Text] = {}
    ray_resources: dict[str, Text] = {}
    """Logical resources by name (`CPU`, `GPU`, `memory`, your own), in place of those start parameters."""
    ray_labels: Labels = {}
    env: dict[EnvName, EnvValue] = {}
    env_from_secrets: list[ObjectName] = []
    labels: Labels = {}
    annotations: Annotations = {}
    node_selector: Labels = {}
    tolerations: list[Object] = []
    affinity: Object = {}
    topology_spread_constraints: list[Object] = []
    priority_class_name: ObjectName | None = None
    service_account_name: ObjectName | None = None
    image_pull_secrets: list[ObjectName] = []
    volumes: list[Object] = []
    volume_mounts: list[Object] = []
    security_context: Object = {}
    pod_security_context: Object = {}
    pod_template: Object = {}
    """Laid over the finished pod template, for whatever has no setting of its own."""

    def _pod_problems(self) -> list[tuple[str, str]]:
        problems = []
        if self.ray_resources:
            problems += [
                (
                    f"rayStartParams.{key}",
                    f'"{self.ray_start_params[key]}": set together with `rayResources`; keep one',
                )
                for key in START_RESOURCES
                if key in self.ray_start_params
            ]
        if "labels" in self.ray_start_params:
            problems.append(("rayStartParams.labels", "the operator refuses it; allowed: `rayLabels`"))
        for key in ("cpu", "memory"):
            wanted, limit = getattr(self.requests, key), getattr(self, key)
            if wanted and amount(wanted) > amount(limit):
                problems.append((f"requests.{key}", f'"{wanted}": above the limit; allowed: up to {limit}'))
        for key, field, items in (
            ("volumes", "name", self.volumes),
            ("volumeMounts", "mountPath", self.volume_mounts),
        ):
            counts = Counter(str(item.get(field)) for item in items)
            problems += [(key, f'"{one}": there twice; allowed: once') for one, count in counts.items() if count > 1]
        mounted, there = {m.get("name") for m in self.volume_mounts}, {v.get("name") for v in self.volumes}
        problems += [
            ("volumeMounts", f'"{name}": no such volume; allowed: {", ".join(sorted(map(str, there))) or "none"}')
            for name in sorted(map(str, mounted - there))
        ]
        return problems


class Head(Pod):
    """`head` of a cluster. Upstream's sizes; no task runs on it (`num-cpus: "0"`) unless told so."""

    memory: Memory = "5Gi"
    requests: Requests = Requests.model_construct(cpu=None, memory="2Gi")

    @model_validator(mode="after")
    def _check(self) -> Head:
        Problems.check(self._pod_problems())
        return self


class WorkerGroup(Pod):
    """One entry of `workerGroups`."""

    min: Annotated[Int32, Field(ge=0)] = 1
    max: Annotated[Int32, Field(ge=1)] = 10
    replicas: Annotated[int, Field(ge=0)] | None = None
    """Only with autoscaling off; default `min`."""
    num_of_hosts: Annotated[int, Field(ge=1)] = 1
    idle_timeout_seconds: Annotated[int, Field(ge=0)] | None = None
    priority: Int32 | None = None
    """Higher is tried first: spot machines before the group that is always to be had."""

    @model_validator(mode="after")
    def _check(self) -> WorkerGroup:
        problems = self._pod_problems()
        if self.min > self.max:
            problems.append(("min", f"{self.min}: above max; allowed: 0 to {self.max}"))
        elif self.replicas is not None and not self.min <= self.replicas <= self.max:
            problems.append(("replicas", f"{self.replicas}: outside min and max; allowed: {self.min} to {self.max}"))
        if self.requests.memory and amount(self.requests.memory) != amount(self.memory):
            # Ray counts the limit, the autoscaler the request: where they differ it starts workers that do not fit.
            problems.append(
                (
                    "requests.memory",
                    f'"{self.requests.memory}": differs from `memory`; allowed: {self.memory}',
                )
            )
        Problems.check(problems)
        return self


WorkerGroups = dict[GroupName, WorkerGroup]
