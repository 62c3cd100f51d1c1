"""Settings of one RayCluster: an entry of the key `clusters` of a stack file."""

# ruff: noqa: RUF012 (pydantic copies defaults)

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic.alias_generators import to_camel

from components.settings import start_params
from components.settings.access import (
    FaultTolerance,
    Ingress,
    LoadBalancer,
    NetworkPolicy,
    ServiceAccount,
    Subject,
    public_ranges,
)
from components.settings.env import SELF_REFERENCE, Env, self_references
from components.settings.fields import (
    Annotations,
    ClusterName,
    Cpu,
    FieldProblems,
    Image,
    Labels,
    Memory,
    Model,
    Namespace,
    ObjectName,
    namespace_problem,
    switch,
    version_like,
)
from components.settings.keeper import Keeper
from components.settings.pods import Head, Object, Pod, Requests, WorkerGroup, WorkerGroups
from components.settings.versions import (
    DEFAULT_RAY_VERSION,
    PRIORITY_RAY,
    RAY_PATTERN,
    SAFE_RAY,
    TOKEN_AUTH_RAY,
    at_least,
    is_moving,
    is_official,
    parts,
    ray_version_of_image,
)

# Fields that `spec` must not set, each with its own setting: checks and outputs read the setting.
FIELDS_WITH_SETTING = {
    "authOptions.mode": "auth",
    "authOptions.secretName": "auth.secretName",
    "autoscalerOptions.version": "autoscaling.version",
    "enableInTreeAutoscaling": "autoscaling.enabled",
    "gcsFaultToleranceOptions.externalStorageNamespace": "faultTolerance.storageNamespace",
    "gcsFaultToleranceOptions.redisAddress": "faultTolerance.redis",
    "gcsFaultToleranceOptions.redisPassword": "faultTolerance.redis.password",
    "gcsFaultToleranceOptions.redisUsername": "faultTolerance.redis.username",
    "rayVersion": "rayVersion",
    "suspend": "suspend",
    "upgradeStrategy": "upgradeStrategy",
}


class AutoscalerResources(Model):
    """Resources of the autoscaler's container, a sidecar of the head. The defaults are upstream's."""

    cpu: Cpu = "500m"
    """CPU limit, and request unless `requests` differs."""
    memory: Memory = "512Mi"
    """Memory limit, and request unless `requests` differs."""
    requests: Requests = Requests()
    """Requests where they differ from the limits."""


class Autoscaling(Model):
    """Ray's autoscaler."""

    enabled: bool = True
    """Let Ray's autoscaler set the number of workers; `false`: it is fixed, see `replicas`."""
    version: Literal["v1", "v2"] = "v2"
    """Version of the autoscaler. It is always written into the manifest: without it the operator and Ray decide
    independently."""
    idle_timeout_seconds: Annotated[int, Field(ge=0)] = 60
    """Seconds after which an idle worker is removed. The default is upstream's."""
    upscaling_mode: Literal["Default", "Aggressive", "Conservative"] = "Default"
    """How fast workers are added, as in KubeRay."""
    resources: AutoscalerResources = AutoscalerResources()
    """Resources of the autoscaler's container."""
    env: Env = {}
    """Environment variables of the autoscaler's container, as `env` of a pod."""

    @model_validator(mode="after")
    def _check(self) -> Autoscaling:
        problems = FieldProblems()
        for name in self_references(self.env):
            problems.add(f"env.{name}", SELF_REFERENCE)
        if not self.enabled:
            for field in sorted(self.model_fields_set - {"enabled"}):
                problems.add(to_camel(field), "set, but `enabled` is false; remove one of them")
        problems.raise_if_any()
        return self


class Auth(Model):
    """Authentication of everyone who calls the cluster."""

    mode: Literal["token", "disabled"] = "token"
    """`token`: every call carries a token. `disabled`: everyone who can connect can run code."""
    secret_name: ObjectName | None = None
    """Your Secret with the token under the key `auth_token`. Default: the operator creates one with a random token."""

    @model_validator(mode="after")
    def _check(self) -> Auth:
        if self.secret_name and self.mode == "disabled":
            raise FieldProblems(
                ("secretName", f'"{self.secret_name}": set, but `mode` is disabled; remove one of them')
            )
        return self


def _groups_by_name(value: Any) -> Any:
    """Turns a list of groups with `name` into a mapping."""
    if not isinstance(value, list):
        return value
    names = [str(group["name"]) for group in value if isinstance(group, Mapping) and "name" in group]
    if len(names) < len(value):
        raise ValueError("every group in a list requires a `name`; allowed: that, or a mapping of name to group")
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise ValueError(f"names used twice: {', '.join(repeated)}; allowed: each name once")
    return {str(group["name"]): {key: item for key, item in group.items() if key != "name"} for group in value}


def _auth_from_mode(value: Any) -> Any:
    return {"mode": value} if isinstance(value, str) else value


class RayClusterSettings(Model):
    """One RayCluster. Without any key it is upstream's autoscaling sample, with token authentication."""

    name: ClusterName = "raycluster-autoscaler"
    """Name of the RayCluster."""
    namespace: Namespace = "ray-cluster"
    """Namespace of the RayCluster."""
    create_namespace: bool = True
    """Whether the stack creates and deletes that namespace; `false`: it exists. `default` and `kube-*` are never
    created."""
    ray_version_setting: Annotated[str, version_like(RAY_PATTERN, "2.60.0")] | None = Field(
        default=None, alias="rayVersion"
    )
    """Version of Ray. Default: that of the image's tag, else 2.60.0. Required where the tag states no Ray version, such
    as 1.4.2 or 2026.04.14 of an image of your own. It wins over the tag."""
    image_setting: Image | None = Field(default=None, alias="image")
    """Image of the head and the workers. Default: `rayproject/ray` of the version."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    """Pull policy of that image. Default: Kubernetes' own."""
    labels: Labels = {}
    """Labels of the RayCluster."""
    annotations: Annotations = {}
    """Annotations of the RayCluster."""
    head: Head = Head()
    """The head pod."""
    worker_groups: Annotated[WorkerGroups, BeforeValidator(_groups_by_name)] = {"small-group": WorkerGroup()}
    """Worker groups by name, or a list of groups with `name`."""
    autoscaling: Autoscaling = Autoscaling()
    """The autoscaler."""
    auth: Annotated[Auth, BeforeValidator(_auth_from_mode)] = Auth()
    """Authentication: `token`, `disabled`, or an object with `mode` and `secretName`."""
    suspend: bool = False
    """Delete all pods and keep the RayCluster. Running jobs are lost."""
    ready_timeout_seconds: Annotated[int, Field(ge=10)] = 600
    """Seconds that `up` waits for the cluster to be ready, 10 to 86400."""
    delete_timeout_seconds: Annotated[int, Field(ge=10)] = 600
    """Seconds that `destroy` waits for the cluster to be deleted."""
    readiness: Literal["conditions", "state"] = "conditions"
    """What `up` reads to see that the cluster is ready. `state` is for KubeRay before v1.3, which has no conditions."""
    upgrade_strategy: Literal["Recreate", "None"] | None = None
    """`Recreate`: a changed spec restarts all pods, the head included. Default: running pods keep the old spec."""
    fault_tolerance: FaultTolerance | None = None
    """GCS fault tolerance. Default: off, all jobs are lost with the head's pod."""
    keeper: Annotated[Keeper | None, BeforeValidator(switch)] = None
    """What keeps every job and its whole log, whoever submitted it. Default: none."""
    network_policy: NetworkPolicy = NetworkPolicy()
    """NetworkPolicies of the pods."""
    ingress: Ingress | None = None
    """Ingress for the Jobs API and the dashboard. Default: none."""
    load_balancer: LoadBalancer | None = None
    """Load balancer for the Jobs API and the dashboard. Default: none."""
    service_account: ServiceAccount = ServiceAccount()
    """ServiceAccount of the pods."""
    pod_security: Literal["restricted"] | None = None
    """`restricted`: pods that a namespace of that Pod Security level admits. They run as the user of Ray's official
    images."""
    head_disruption_budget: bool = False
    """Refuse to drain the node of the head, of which there is only one."""
    job_users: list[Subject] = []
    """Who gets the least Role that `rayjobs` needs (docs/jobs-rbac.yaml). It reaches every pod of the namespace."""
    allow: list[Literal["old-ray", "moving-tag", "shared-namespace", "open-network", "redis-without-password"]] = []
    """Exceptions. `old-ray`: Ray before 2.54. `moving-tag`: an image with `latest`, `nightly` or no tag.
    `shared-namespace`: job users of other clusters in the namespace, who reach this cluster's pods too. `open-network`:
    the internet can connect; without a token, or to the Redis for trial, every pod of the Kubernetes cluster.
    `redis-without-password`: everyone who reaches your own Redis can change the state of the head, and so run code."""
    spec: Object = {}
    """Merged into the finished spec, for every field of the pinned CRD without a setting. Lists merge by name,
    `envFrom` and `tolerations` are added, null removes."""

    @property
    def ray_version(self) -> str:
        """The version of Ray: `rayVersion`, else that of the image's tag, else the default."""
        return self.ray_version_setting or self._ray_version_of_image or DEFAULT_RAY_VERSION

    @property
    def _ray_version_of_image(self) -> str | None:
        return ray_version_of_image(self.image_setting) if self.image_setting else None

    @property
    def _pods(self) -> dict[str, Pod]:
        """The head and the worker groups, by their keys."""
        return {"head": self.head, **{f"workerGroups.{name}": group for name, group in self.worker_groups.items()}}

    def warnings(self) -> list[str]:
        """Returns settings that are allowed and look like a mistake: key and text, one a line."""
        stated, tagged = self.ray_version_setting, self._ray_version_of_image
        differs = (
            f'image: "{self.image_setting}": its tag looks like Ray {tagged}, and `rayVersion` {stated} is used; '
            "if the image has another Ray, correct `rayVersion`"
        )
        return [
            *([differs] if stated and tagged and parts(stated) != parts(tagged) else []),
            *(
                f"{key}.rayStartParams.{name}: {text}"
                for key, pod in self._pods.items()
                for name, text in start_params.warnings(pod.ray_start_params, self.ray_version)
            ),
        ]

    @property
    def image(self) -> str:
        """The image of the head and the workers."""
        return self.image_setting or f"rayproject/ray:{self.ray_version}"

    @property
    def head_service(self) -> str:
        """Name of the head's Service, which the operator creates."""
        return f"{self.name}-head-svc"

    @property
    def service_account_name(self) -> str:
        """Name of the ServiceAccount that the stack creates for the cluster."""
        return f"{self.name}-ray"

    @property
    def keeper_name(self) -> str:
        """Name of every object of the keeper: Deployment, volume claim, Service and the others."""
        return f"{self.name}-keeper"

    @property
    def keeper_is_closed(self) -> bool:
        """Whether NetworkPolicies are all that protects the keeper's API: then not every pod may scrape its metrics."""
        return self.network_policy.enabled and self.auth.mode == "disabled"

    @property
    def auth_secret(self) -> str | None:
        """Name of the Secret that holds the token; None without token authentication."""
        return (self.auth.secret_name or self.name) if self.auth.mode == "token" else None

    @model_validator(mode="after")
    def _check(self) -> RayClusterSettings:
        problems = FieldProblems()
        self._check_images(problems)
        self._check_ray_version(problems)
        self._check_scaling(problems)
        self._check_start_params(problems)
        self._check_access(problems)
        for path, setting in FIELDS_WITH_SETTING.items():
            if _sets(self.spec, path):
                problems.add(f"spec.{path}", f"this field has its own setting; allowed: `{setting}`")
        if self.create_namespace and (text := namespace_problem(self.namespace)):
            problems.add("createNamespace", text)
        if self.ready_timeout_seconds > 24 * 3600:
            problems.add("readyTimeoutSeconds", f"{self.ready_timeout_seconds}: allowed: 10 to 86400")
        problems.raise_if_any()
        return self

    def _check_images(self, problems: FieldProblems) -> None:
        if self.image_setting and not (self._ray_version_of_image or self.ray_version_setting):
            problems.add("image", f'"{self.image_setting}": its tag states no Ray version; set `rayVersion` too')
        if "moving-tag" in self.allow:
            return
        if self.image_setting and is_moving(self.image_setting):
            text = "its tag moves, so pods of one cluster could differ; allowed: a version or digest, or"
            problems.add("image", f'"{self.image_setting}": {text} `allow: [moving-tag]`')
        others = {
            "faultTolerance.redis.image": self.fault_tolerance.redis.image if self.fault_tolerance else None,
            "keeper.image": self.keeper.image if self.keeper else None,
        }
        for key, image in others.items():
            if image and is_moving(image):
                text = "its tag moves; allowed: a version or digest, or `allow: [moving-tag]`"
                problems.add(key, f'"{image}": {text}')

    def _check_ray_version(self, problems: FieldProblems) -> None:
        from_own_tag = not self.ray_version_setting and self.image_setting and not is_official(self.image_setting)
        way = "; if the tag of `image` is not Ray's version, set `rayVersion`" if from_own_tag else ""
        if not at_least(self.ray_version, SAFE_RAY) and "old-ray" not in self.allow:
            text = f"{self.ray_version}: older than {SAFE_RAY}; allowed: {SAFE_RAY} or newer, or `allow: [old-ray]`"
            problems.add("rayVersion", text + way)
        if self.auth.mode == "token" and not at_least(self.ray_version, TOKEN_AUTH_RAY):
            text = f"needs Ray {TOKEN_AUTH_RAY}, this is {self.ray_version}; allowed: a newer Ray, or `auth: disabled`"
            problems.add("auth", f'"token": {text}{way}')

    def _check_start_params(self, problems: FieldProblems) -> None:
        # checks/operator_rules.py refuses the same in finished manifests, where `spec` may have set a parameter.
        for key, pod in self._pods.items():
            for name, text in start_params.problems(
                pod.ray_start_params,
                head=pod is self.head,
                ray_version=self.ray_version,
                autoscaling=self.autoscaling.enabled,
            ):
                problems.add(f"{key}.rayStartParams.{name}", text)

    def _check_access(self, problems: FieldProblems) -> None:
        if self.auth.mode == "disabled":
            # checks/exposure.py refuses the same in finished manifests, where `spec` may have opened a Service.
            for key, value in (("ingress", self.ingress), ("loadBalancer", self.load_balancer)):
                if value:
                    problems.add(key, "opens the cluster to everyone who can connect; allowed: only with `auth: token`")
        if self.ingress and self.load_balancer:
            problems.add("loadBalancer", "set together with `ingress`; remove one of them")
        policy = self.network_policy
        if self.ingress and policy.enabled and not (self.ingress.controller_namespace or policy.allow_from):
            text = "is missing: the NetworkPolicy would block the ingress controller; set it, or"
            problems.add(
                "ingress.controllerNamespace",
                f"{text} `networkPolicy.allowFrom` (of a cloud's load balancer: its subnets)",
            )
        if "open-network" not in self.allow:
            self._check_network(problems)
        tolerance = self.fault_tolerance
        own = tolerance.redis if tolerance and tolerance.redis.address else None
        if own and not own.password and "redis-without-password" not in self.allow:
            text = (
                "is missing: everyone who reaches this Redis can change the state of the head; allowed: {secret, key}"
            )
            problems.add("faultTolerance.redis.password", f"{text}, or `allow: [redis-without-password]`")
        if tolerance and tolerance.deletion_timeout_seconds >= self.delete_timeout_seconds:
            text = f"{tolerance.deletion_timeout_seconds}: must be shorter than `deleteTimeoutSeconds`"
            problems.add(
                "faultTolerance.deletionTimeoutSeconds", f"{text}; allowed: below {self.delete_timeout_seconds}"
            )

    def _check_network(self, problems: FieldProblems) -> None:
        """Networks that let everybody connect."""
        policy = self.network_policy
        smaller = "private ranges, ranges of the internet up to /16 (IPv6: /32), or `allow: [open-network]`"
        balancer = self.load_balancer if self.auth.mode == "token" else None  # refused without a token
        for text in public_ranges(balancer.source_ranges) if balancer else []:
            why = "a large part of the internet, and the load balancer has no TLS, so the token can be read on the way"
            problems.add("loadBalancer.sourceRanges", f'"{text}": {why}; allowed: `ingress`, {smaller}')
        for text in public_ranges(policy.ranges):
            problems.add("networkPolicy.allowFrom", f'"{text}": a large part of the internet; allowed: {smaller}')
        if self.auth.mode == "disabled" and policy.allows_every_pod:
            key = "networkPolicy.allowFrom" if policy.enabled else "networkPolicy.enabled"
            text = "without a token every pod of the Kubernetes cluster could run code here; allowed: `auth: token`"
            problems.add(key, f"{text}, peers with labels, or `allow: [open-network]`")
        redis = self.fault_tolerance.redis if self.fault_tolerance else None
        if redis and redis.in_cluster and not redis.password and not policy.enabled:
            text = "is missing: `networkPolicy.enabled` is false, so every pod could change the state of the head"
            problems.add(
                "faultTolerance.redis.password",
                f"{text}; allowed: {{secret, key}}, NetworkPolicies, or `allow: [open-network]`",
            )

    def _check_scaling(self, problems: FieldProblems) -> None:
        scaling = self.autoscaling
        for name, group in self.worker_groups.items():
            key = f"workerGroups.{name}"
            if scaling.enabled and group.replicas is not None:
                text = f"{group.replicas}: the autoscaler sets it; allowed: `min`, or `autoscaling.enabled: false`"
                problems.add(f"{key}.replicas", text)
            for field in ("idle_timeout_seconds", "priority"):
                value = getattr(group, field)
                if value is not None and not (scaling.enabled and scaling.version == "v2"):
                    alias = WorkerGroup.model_fields[field].alias
                    problems.add(f"{key}.{alias}", f"{value}: only the autoscaler v2 reads it; remove it")
            if group.priority is not None and not at_least(self.ray_version, PRIORITY_RAY):
                problems.add(f"{key}.priority", f"{group.priority}: needs Ray {PRIORITY_RAY}")
        if scaling.enabled and not self.worker_groups:
            text = "empty, the autoscaler has nothing to scale; add a group, or set `autoscaling.enabled: false`"
            problems.add("workerGroups", text)


def _sets(spec: Object, path: str) -> bool:
    """Returns whether `spec` sets the field at `path`, or removes an object that holds it."""
    step, _, rest = path.partition(".")
    if not rest or spec.get(step, {}) is None:
        return step in spec
    return isinstance(spec.get(step), dict) and _sets(spec[step], rest)
