"""Settings of Ray pods: those that the head and the workers have in common, and those of each."""

# ruff: noqa: RUF012 (pydantic copies defaults)

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

from pydantic import Field, model_validator

from components.settings.env import SELF_REFERENCE, Env, self_references
from components.settings.fields import (
    LABEL_NAME,
    LABEL_PREFIX,
    Annotations,
    Cpu,
    FieldProblems,
    GroupName,
    Int32,
    Labels,
    Memory,
    Model,
    ObjectName,
    Text,
    matching,
)
from jobs.kubernetes.quantities import parse_quantity

Object = dict[str, Any]
# Start parameters that say the same as `resources` of a group. The operator refuses a group that has both.
START_RESOURCES = ("num-cpus", "num-gpus", "memory", "resources")


class Requests(Model):
    """Requests of a container, where they differ from its limits."""

    cpu: Cpu | None = None
    """CPUs. Default: the limit."""
    memory: Memory | None = None
    """Bytes. Default: the limit."""


class Pod(Model):
    """Settings of every Ray pod. Objects such as `affinity` are those of Kubernetes, checked by the CRD's schema."""

    cpu: Cpu = "1"
    """CPU limit of the Ray container, and its request unless `requests` differs. Ray counts it, rounded up."""
    memory: Memory = "1Gi"
    """Memory limit of the Ray container, and its request unless `requests` differs."""
    requests: Requests = Requests()
    """Requests where they differ from the limits. For workers, `requests.memory` must equal `memory`: Ray counts the
    limit, the autoscaler the request."""
    gpu: Annotated[int, Field(ge=0)] = 0
    """GPUs of the Ray container. Ray counts them as `GPU`."""
    gpu_resource: Annotated[str, matching(rf"{LABEL_PREFIX}/{LABEL_NAME}", "a name such as nvidia.com/gpu")] = (
        "nvidia.com/gpu"
    )
    """Kubernetes' name of the GPU resource."""
    ephemeral_storage: Memory | None = None
    """Limit and request of ephemeral storage in bytes; Ray spills objects to it. Default: no limit."""
    ray_start_params: dict[str, Text] = {}
    """Parameters of `ray start` without the leading dashes. Values are checked as `ray start` checks them. Ports that
    Services and NetworkPolicies lead to must keep their default."""
    ray_resources: dict[str, Text] = {}
    """Logical resources by name (`CPU`, `GPU`, `memory`, your own), in place of the start parameters that set them."""
    ray_labels: Labels = {}
    """Labels of the Ray node, for label selectors of tasks and actors."""
    env: Env = {}
    """Environment variables by name: a value, `{secret, key}` or `{valueFrom}`; or a list, as in Kubernetes. In a
    mapping a variable comes after those that it names as `$(NAME)`, so that Kubernetes expands them; a list keeps its
    order. An unknown name stays as it is."""
    env_from_secrets: list[ObjectName] = []
    """Secrets of which every key becomes an environment variable."""
    labels: Labels = {}
    """Labels of the pod."""
    annotations: Annotations = {}
    """Annotations of the pod."""
    node_selector: Labels = {}
    """Labels that the node must have."""
    tolerations: list[Object] = []
    """Tolerations, as in Kubernetes."""
    affinity: Object = {}
    """Affinity, as in Kubernetes."""
    topology_spread_constraints: list[Object] = []
    """Topology spread constraints, as in Kubernetes."""
    priority_class_name: ObjectName | None = None
    """PriorityClass of the pod."""
    service_account_name: ObjectName | None = None
    """ServiceAccount of the pod. Default: the one that the stack creates for the cluster."""
    image_pull_secrets: list[ObjectName] = []
    """Secrets for pulling images."""
    volumes: list[Object] = []
    """Volumes of the pod, as in Kubernetes."""
    volume_mounts: list[Object] = []
    """Volume mounts of the Ray container, as in Kubernetes."""
    security_context: Object = {}
    """Security context of the Ray container, as in Kubernetes."""
    pod_security_context: Object = {}
    """Security context of the pod, as in Kubernetes."""
    pod_template: Object = {}
    """Merged into the finished pod template, for every field without a setting. Lists merge by name, `envFrom` and
    `tolerations` are added, null removes."""

    def _check_pod(self, problems: FieldProblems) -> None:
        if self.ray_resources:
            for key in START_RESOURCES:
                if key in self.ray_start_params:
                    value = self.ray_start_params[key]
                    problems.add(
                        f"rayStartParams.{key}", f'"{value}": set together with `rayResources`; keep one of them'
                    )
        if not (self.env_from_secrets or self.pod_template):  # each of them can bring an earlier value
            for name in self_references(self.env):
                problems.add(f"env.{name}", SELF_REFERENCE)
        if "labels" in self.ray_start_params:
            problems.add("rayStartParams.labels", "the operator refuses it; allowed: `rayLabels`")
        for key in ("cpu", "memory"):
            request, limit = getattr(self.requests, key), getattr(self, key)
            if request and parse_quantity(request) > parse_quantity(limit):
                problems.add(f"requests.{key}", f'"{request}": above the limit; allowed: up to {limit}')
        for key, field, items in (("volumes", "name", self.volumes), ("volumeMounts", "mountPath", self.volume_mounts)):
            for name, count in Counter(str(item.get(field)) for item in items).items():
                if count > 1:
                    problems.add(key, f'"{name}": listed twice; allowed: once')
        mounts, volumes = {item.get("name") for item in self.volume_mounts}, {item.get("name") for item in self.volumes}
        allowed = ", ".join(sorted(map(str, volumes))) or "none"
        for name in sorted(map(str, mounts - volumes)):
            problems.add("volumeMounts", f'"{name}": there is no such volume; allowed: {allowed}')


class Head(Pod):
    """The head pod. No task runs on it (`num-cpus: "0"`) unless `rayStartParams` or `rayResources` say otherwise."""

    memory: Memory = "5Gi"
    """Memory limit of the Ray container, and its request unless `requests` differs. Upstream's sample has 5Gi too."""
    requests: Requests = Requests.model_construct(cpu=None, memory="2Gi")
    """Requests where they differ from the limits. Default: memory 2Gi, as in upstream's sample."""

    @model_validator(mode="after")
    def _check(self) -> Head:
        problems = FieldProblems()
        self._check_pod(problems)
        problems.raise_if_any()
        return self


class WorkerGroup(Pod):
    """One entry of `workerGroups`."""

    min: Annotated[Int32, Field(ge=0)] = 1
    """Fewest workers. The default makes `up` wait for one worker that runs; upstream's is 0."""
    max: Annotated[Int32, Field(ge=1)] = 10
    """Most workers. The default is that of upstream's sample."""
    replicas: Annotated[int, Field(ge=0)] | None = None
    """Number of workers. Allowed only without autoscaling. Default: `min`."""
    num_of_hosts: Annotated[int, Field(ge=1)] = 1
    """Pods of one worker, for accelerators that span hosts."""
    idle_timeout_seconds: Annotated[int, Field(ge=0)] | None = None
    """Seconds after which an idle worker is removed. Needs autoscaler v2. Default: that of `autoscaling`."""
    priority: Int32 | None = None
    """The autoscaler tries groups with a higher priority first, such as spot machines. Needs v2 and Ray 2.56."""

    @model_validator(mode="after")
    def _check(self) -> WorkerGroup:
        problems = FieldProblems()
        self._check_pod(problems)
        if self.min > self.max:
            problems.add("min", f"{self.min}: above max; allowed: 0 to {self.max}")
        elif self.replicas is not None and not self.min <= self.replicas <= self.max:
            problems.add("replicas", f"{self.replicas}: outside min and max; allowed: {self.min} to {self.max}")
        request = self.requests.memory
        if request and parse_quantity(request) != parse_quantity(self.memory):
            # Ray counts the limit, the autoscaler the request. Where they differ it starts workers that do not fit.
            text = "differs from `memory`, and the autoscaler could start workers that do not fit"
            way = "or the request in `podTemplate.spec.containers[ray-worker].resources.requests`"
            problems.add("requests.memory", f'"{request}": {text}; allowed: {self.memory}, {way}')
        problems.raise_if_any()
        return self


WorkerGroups = dict[GroupName, WorkerGroup]
