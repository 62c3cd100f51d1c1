"""Settings of the operator and its CRDs: the key `kuberay` of a stack file."""

# ruff: noqa: RUF012 (pydantic copies defaults)

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from components.settings.env import SELF_REFERENCE, Env, self_references
from components.settings.fields import (
    Annotations,
    Cpu,
    FieldProblems,
    Image,
    Labels,
    Memory,
    Model,
    Namespace,
    ObjectName,
    namespace_problem,
    version_like,
)
from components.settings.pods import Requests
from components.settings.versions import (
    CONDITIONS,
    DEFAULT_KUBERAY_VERSION,
    KUBERAY_PATTERN,
    OPERATOR_METRICS,
    SPLIT_CONFIG,
    at_least,
    is_moving,
)
from jobs.kubernetes.quantities import parse_quantity

UPSTREAM = "upstream"
# Limits and requests of the operator's container in upstream's manifests.
UPSTREAM_SIZES = {"cpu": "100m", "memory": "512Mi"}
OPERATOR = "kuberay-operator"  # name of the Deployment, its container and its ServiceAccount
# Fields of the operator's container that `podTemplate` must not set: checks and the quota read the setting.
FIELDS_WITH_SETTING = {"args": "args", "image": "image", "resources": "resources"}


class OperatorResources(Model):
    """Resources of the operator's container."""

    cpu: Cpu | None = None
    """CPU limit, and request unless `requests` differs. Default: the limit of the version's own manifest (100m in
    v1.7.0). A hundred new RayClusters take the operator 2 s of CPU time."""
    memory: Memory | None = None
    """Memory limit, and request unless `requests` differs. Default: the limit of the version's own manifest (512Mi in
    v1.7.0). Upstream counts 1 MB for each Ray pod."""
    requests: Requests = Requests()
    """Requests where they differ from the limits."""

    @property
    def limits_by_name(self) -> dict[str, str]:
        """The limits that are set."""
        return {name: size for name, size in (("cpu", self.cpu), ("memory", self.memory)) if size}

    @property
    def requests_by_name(self) -> dict[str, str]:
        """The requests that are set; a limit is a request too."""
        own = {name: size for name, size in (("cpu", self.requests.cpu), ("memory", self.requests.memory)) if size}
        return {**self.limits_by_name, **own}


class OperatorAccount(Model):
    """The ServiceAccount of the operator."""

    annotations: Annotations = {}
    """Annotations of the ServiceAccount."""


class KubeRay(Model):
    """The operator and its CRDs."""

    version: Annotated[str, version_like(KUBERAY_PATTERN, "v1.7.0")] = DEFAULT_KUBERAY_VERSION
    """Upstream tag. Its digest must be in `components/kuberay/digests.json`."""
    namespace: Namespace = "ray-system"
    """Namespace of the operator."""
    create_namespace: bool = True
    """Whether the stack creates and deletes that namespace; `false`: it exists."""
    source: Annotated[str, Field(min_length=1)] = UPSTREAM
    """`upstream`: fetch the git tag, or that version's Go module (GOPROXY) if the tag cannot be reached. Otherwise a
    directory that holds the files of that version."""
    image: Image | None = None
    """Image of the operator, with a tag or digest. Default: upstream's image of that version."""
    image_registry: Annotated[str, Field(min_length=1)] | None = None
    """Registry (and path) that replaces upstream's, for sites that cannot reach it."""
    args: tuple[str, ...] = ()
    """Flags of the operator. Feature gates are merged with upstream's."""
    metrics: bool = False
    """Let the operator report its RayClusters and RayJobs as metrics (`--enable-metrics`), from KubeRay v1.4 on. The
    metrics of its own work are always there."""
    resources: OperatorResources = OperatorResources()
    """Resources of the operator's container."""
    replicas: Annotated[int, Field(ge=1)] | None = None
    """Pods of the operator, of which one acts and the others wait. Default: that of the version's own manifest (1)."""
    env: Env = {}
    """Environment variables of the operator's container, as `env` of a Ray pod."""
    labels: Labels = {}
    """Labels of the operator's pod."""
    annotations: Annotations = {}
    """Annotations of the operator's pod."""
    node_selector: Labels = {}
    """Labels that the operator's node must have."""
    tolerations: list[dict[str, Any]] = []
    """Tolerations of the operator's pod, as in Kubernetes."""
    affinity: dict[str, Any] = {}
    """Affinity of the operator's pod, as in Kubernetes."""
    priority_class_name: ObjectName | None = None
    """PriorityClass of the operator's pod."""
    image_pull_secrets: list[ObjectName] = []
    """Secrets in the operator's namespace for pulling its image."""
    service_account: OperatorAccount = OperatorAccount()
    """ServiceAccount of the operator."""
    pod_template: dict[str, Any] = {}
    """Merged into the operator's finished pod template, for every field without a setting. Lists merge by name,
    `envFrom` and `tolerations` are added, null removes."""
    apiserver: bool = False
    """Install the KubeRay API server and its NodePorts too, which KubeRay before v1.1 bundles."""
    operator: Literal["own", "existing"] = "own"
    """`own`: the stack installs the operator. `existing`: it uses an installed one, whose version must be `version`."""
    crds_setting: Literal["own", "adopt", "existing"] | None = Field(default=None, alias="crds")
    """`own`: the stack installs the CRDs. `adopt`: it takes over installed ones. `existing`: it does not change them.
    Default: as `operator`."""
    retain_crds: bool = False
    """Keep the CRDs on `destroy`. Set it wherever other teams have objects of these kinds: they go with the CRDs."""
    watch_namespaces: tuple[Namespace, ...] = ()
    """Namespaces in which the operator acts, with a Role in each and no ClusterRole. Default: the whole cluster."""

    @property
    def crds(self) -> Literal["own", "adopt", "existing"]:
        """The value of `crds`, or its default: an existing operator has brought its CRDs."""
        return self.crds_setting or ("own" if self.operator == "own" else "existing")

    @property
    def owns_namespace(self) -> bool:
        """Whether the stack creates the operator's namespace."""
        return self.operator == "own" and self.create_namespace

    @property
    def feature_gates(self) -> frozenset[str]:
        """Names of the feature gates that `args` switch on."""
        values = [arg.split("=", 1)[1] for arg in self.args if arg.startswith("--feature-gates=")]
        return frozenset(gate for value in values for gate in re.findall(r"(\w+)=true", value))

    @model_validator(mode="after")
    def _check(self) -> KubeRay:
        problems = FieldProblems()
        if self.apiserver and at_least(self.version, SPLIT_CONFIG):
            problems.add(
                "apiserver",
                f"true: KubeRay {self.version} does not bundle it; allowed: false, or a version before v1.1",
            )
        if self.image and self.image_registry:
            problems.add("imageRegistry", "set together with `image`; remove one of them")
        if self.image and is_moving(self.image):
            problems.add("image", f'"{self.image}": its tag moves; allowed: a version or a digest')
        if self.owns_namespace and (text := namespace_problem(self.namespace)):
            problems.add("createNamespace", text)
        if self.retain_crds and self.crds == "existing":
            problems.add("retainCrds", "true: the stack never deletes `existing` CRDs; remove it, or set `crds: own`")
        for name in sorted({name for name in self.watch_namespaces if self.watch_namespaces.count(name) > 1}):
            problems.add("watchNamespaces", f'"{name}": listed twice; allowed: once')
        self._check_args(problems)
        self._check_pod(problems)
        if self.operator == "existing":
            self._check_existing(problems)
        problems.raise_if_any()
        return self

    def _check_args(self, problems: FieldProblems) -> None:
        for index, arg in enumerate(self.args):
            key = f"args[{index}]"
            if not arg.startswith("--"):
                problems.add(key, f'"{arg}": not a flag; allowed: a flag such as --reconcile-concurrency=2')
            if arg.startswith("--watch-namespace"):
                problems.add(key, "set `watchNamespaces` instead, which creates the Roles too")
            if arg.partition("=")[0] == "--enable-metrics":
                problems.add(key, "this flag has its own setting; allowed: `metrics`")
            if arg == "--config" or arg.startswith("--config="):
                problems.add(key, "with --config the operator ignores all other flags; remove it")
        if self.metrics and not at_least(self.version, OPERATOR_METRICS):
            problems.add("metrics", f"true: needs KubeRay {OPERATOR_METRICS}, this is {self.version}")
        gate = "RayClusterStatusConditions=false"
        if any(gate in arg for arg in self.args) and at_least(self.version, CONDITIONS):
            problems.add("args", f"{gate}: `up` reads these conditions to see that a cluster is ready; remove it")

    def _check_pod(self, problems: FieldProblems) -> None:
        if self.replicas and self.replicas > 1 and "--enable-leader-election=false" in self.args:
            text = "without leader election all pods of the operator would act at once; remove it, or `replicas`"
            problems.add("args", f"--enable-leader-election=false: {text}")
        for name, request in self.resources.requests_by_name.items():
            limit = {**UPSTREAM_SIZES, **self.resources.limits_by_name}[name]
            if parse_quantity(request) > parse_quantity(limit):
                problems.add(f"resources.requests.{name}", f'"{request}": above the limit; allowed: up to {limit}')
        for name in self_references(self.env):
            problems.add(f"env.{name}", SELF_REFERENCE)
        for container in template_containers(self.pod_template):
            for field, setting in FIELDS_WITH_SETTING.items():
                if container.get("name") == OPERATOR and field in container:
                    path = f"podTemplate.spec.containers[{OPERATOR}].{field}"
                    problems.add(path, f"this field has its own setting; allowed: `{setting}`")

    def _check_existing(self, problems: FieldProblems) -> None:
        settings = {
            "image": self.image,
            "imageRegistry": self.image_registry,
            "args": self.args,
            "metrics": self.metrics,
            "apiserver": self.apiserver,
            "watchNamespaces": self.watch_namespaces,
            "resources": self.resources.requests_by_name,
            "replicas": self.replicas,
            "env": self.env,
            "labels": self.labels,
            "annotations": self.annotations,
            "nodeSelector": self.node_selector,
            "tolerations": self.tolerations,
            "affinity": self.affinity,
            "priorityClassName": self.priority_class_name,
            "imagePullSecrets": self.image_pull_secrets,
            "serviceAccount": self.service_account.annotations,
            "podTemplate": self.pod_template,
        }
        for key, value in settings.items():
            if value:
                problems.add(
                    key, "set, but the stack does not install an `existing` operator; remove it, or set `operator: own`"
                )


def template_containers(pod_template: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Returns the containers that a `podTemplate` states."""
    spec = pod_template.get("spec")
    containers = spec.get("containers") if isinstance(spec, Mapping) else None
    return [each for each in containers if isinstance(each, Mapping)] if isinstance(containers, list) else []
