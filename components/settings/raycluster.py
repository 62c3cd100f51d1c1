"""Settings of one RayCluster: an entry of the stack key `clusters`."""

# ruff: noqa: RUF012 (pydantic copies defaults)

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic.alias_generators import to_camel

from components.settings.access import (
    FaultTolerance,
    Ingress,
    LoadBalancer,
    NetworkPolicy,
    ServiceAccount,
    Subject,
)
from components.settings.fields import (
    Annotations,
    ClusterName,
    Cpu,
    EnvName,
    Image,
    Labels,
    Memory,
    Model,
    Namespace,
    ObjectName,
    Problems,
    Text,
    namespace_problem,
)
from components.settings.fields import version as version_like
from components.settings.pods import Head, Object, Requests, WorkerGroup, WorkerGroups
from components.settings.versions import (
    DEFAULT_RAY_VERSION,
    PRIORITY_RAY,
    RAY_PATTERN,
    SAFE_RAY,
    TOKEN_AUTH_RAY,
    at_least,
    image_tag,
    is_moving,
    ray_version_of_tag,
)

TOKEN_KEY = "auth_token"
# What `spec` may not say, because a setting does: checks and outputs read the setting.
OWN_SETTINGS = {
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
    cpu: Cpu = "500m"
    memory: Memory = "512Mi"
    requests: Requests = Requests()


class Autoscaling(Model):
    """`autoscaling` of a cluster."""

    enabled: bool = True
    version: Literal["v1", "v2"] = "v2"
    idle_timeout_seconds: Annotated[int, Field(ge=0)] = 60
    upscaling_mode: Literal["Default", "Aggressive", "Conservative"] = "Default"
    resources: AutoscalerResources = AutoscalerResources()
    env: dict[EnvName, Text] = {}

    @model_validator(mode="after")
    def _check(self) -> Autoscaling:
        if not self.enabled:
            unread = sorted(to_camel(field) for field in self.model_fields_set - {"enabled"})
            Problems.check([(key, "set, but `enabled` is false; remove one of the two") for key in unread])
        return self


class Auth(Model):
    """`auth` of a cluster: token, from a Secret of yours or one that the operator makes."""

    mode: Literal["token", "disabled"] = "token"
    secret_name: ObjectName | None = None

    @model_validator(mode="after")
    def _check(self) -> Auth:
        if self.secret_name and self.mode == "disabled":
            Problems.check([("secretName", f'"{self.secret_name}": with `mode: disabled` nothing reads it')])
        return self


def _groups_by_name(value: Any) -> Any:
    """A list of groups with `name` is the same as a mapping."""
    if not isinstance(value, list):
        return value
    names = [str(group["name"]) for group in value if isinstance(group, Mapping) and "name" in group]
    if len(names) < len(value):
        raise ValueError("every group in a list needs a `name`; allowed: that, or a mapping of name to group")
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise ValueError(f"names used twice: {', '.join(twice)}; allowed: each name once")
    return {str(group["name"]): {key: item for key, item in group.items() if key != "name"} for group in value}


def _auth_by_word(value: Any) -> Any:
    return {"mode": value} if isinstance(value, str) else value


class Cluster(Model):
    """An entry of `clusters`; without any key: upstream's autoscaling sample, with token authentication."""

    name: ClusterName = "raycluster-autoscaler"
    namespace: Namespace = "ray-cluster"
    create_namespace: bool = True
    stated_ray_version: Annotated[str, version_like(RAY_PATTERN, "2.60.0")] | None = Field(
        default=None, alias="rayVersion"
    )
    stated_image: Image | None = Field(default=None, alias="image")
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    labels: Labels = {}
    annotations: Annotations = {}
    head: Head = Head()
    worker_groups: Annotated[WorkerGroups, BeforeValidator(_groups_by_name)] = {"small-group": WorkerGroup()}
    autoscaling: Autoscaling = Autoscaling()
    auth: Annotated[Auth, BeforeValidator(_auth_by_word)] = Auth()
    suspend: bool = False
    ready_timeout_seconds: Annotated[int, Field(ge=10)] = 600
    delete_timeout_seconds: Annotated[int, Field(ge=10)] = 600
    readiness: Literal["conditions", "state"] = "conditions"
    """`state` for KubeRay before v1.3, which has no conditions."""
    upgrade_strategy: Literal["Recreate", "None"] | None = None
    fault_tolerance: FaultTolerance | None = None
    network_policy: NetworkPolicy = NetworkPolicy()
    ingress: Ingress | None = None
    load_balancer: LoadBalancer | None = None
    service_account: ServiceAccount = ServiceAccount()
    pod_security: Literal["restricted"] | None = None
    """`restricted`: pods that a namespace of that Pod Security level takes."""
    head_disruption_budget: bool = False
    job_users: list[Subject] = []
    """Who gets the least Role that `jobs` needs."""
    allow: list[Literal["old-ray", "moving-tag"]] = []
    """What is refused unless it is written here."""
    spec: Object = {}
    """Laid over the finished RayCluster spec, for whatever has no setting of its own."""

    @property
    def ray_version(self) -> str:
        stated = ray_version_of_tag(image_tag(self.stated_image) or "") if self.stated_image else None
        return self.stated_ray_version or stated or DEFAULT_RAY_VERSION

    @property
    def image(self) -> str:
        return self.stated_image or f"rayproject/ray:{self.ray_version}"

    @property
    def head_service(self) -> str:
        return f"{self.name}-head-svc"

    @property
    def service_account_name(self) -> str:
        return f"{self.name}-ray"

    @property
    def auth_secret(self) -> str | None:
        """Name of the Secret that holds the token; None without token authentication."""
        return (self.auth.secret_name or self.name) if self.auth.mode == "token" else None

    @model_validator(mode="after")
    def _check(self) -> Cluster:
        problems = self._version_problems() + self._scaling_problems() + self._access_problems()
        problems += [
            (f"spec.{path}", f"there is a setting for it; allowed: `{setting}`")
            for path, setting in OWN_SETTINGS.items()
            if _states(self.spec, path)
        ]
        if self.create_namespace and (text := namespace_problem(self.namespace)):
            problems.append(("createNamespace", text))
        if self.ready_timeout_seconds > 24 * 3600:
            problems.append(("readyTimeoutSeconds", f"{self.ready_timeout_seconds}: allowed: 10 to 86400"))
        Problems.check(problems)
        return self

    def _version_problems(self) -> list[tuple[str, str]]:
        problems = []
        if self.stated_image:
            tag = image_tag(self.stated_image)
            stated = ray_version_of_tag(tag or "")
            if stated is None and self.stated_ray_version is None:
                problems.append(
                    (
                        "image",
                        f'"{self.stated_image}": its tag states no Ray version; set `rayVersion` as well',
                    )
                )
            if stated and self.stated_ray_version and parts_differ(stated, self.stated_ray_version):
                problems.append(
                    (
                        "image",
                        f'"{self.stated_image}": states Ray {stated}, `rayVersion` is {self.stated_ray_version}; '
                        "allowed: the same version, or leave `rayVersion` out",
                    )
                )
        if self.stated_image and is_moving(self.stated_image) and "moving-tag" not in self.allow:
            text = f'"{self.stated_image}": its tag moves, pods of one cluster would differ; state a version or digest'
            problems.append(("image", f"{text}, or `allow: [moving-tag]`"))
        redis = self.fault_tolerance.redis.image if self.fault_tolerance else None
        if redis and is_moving(redis) and "moving-tag" not in self.allow:
            text = f'"{redis}": its tag moves; state a version or digest, or `allow: [moving-tag]`'
            problems.append(("faultTolerance.redis.image", text))
        if not at_least(self.ray_version, SAFE_RAY) and "old-ray" not in self.allow:
            text = f"{self.ray_version}: older than {SAFE_RAY}; allowed: {SAFE_RAY} or newer, or `allow: [old-ray]`"
            problems.append(("rayVersion", text))
        if self.auth.mode == "token" and not at_least(self.ray_version, TOKEN_AUTH_RAY):
            problems.append(
                (
                    "auth",
                    f'"token": needs Ray {TOKEN_AUTH_RAY}, this is {self.ray_version}; '
                    "allowed: a newer Ray, or `auth: disabled`",
                )
            )
        return problems

    def _access_problems(self) -> list[tuple[str, str]]:
        problems = []
        if self.auth.mode == "disabled":
            problems += [
                (key, "opens the cluster to whoever reaches it; allowed: with `auth: token` alone")
                for key, wanted in (("ingress", self.ingress), ("loadBalancer", self.load_balancer))
                if wanted
            ]
        if self.ingress and self.load_balancer:
            problems.append(("loadBalancer", "set together with `ingress`; keep one of the two"))
        policy = self.network_policy
        if self.ingress and policy.enabled and not (self.ingress.controller_namespace or policy.allow_from):
            text = "missing: the NetworkPolicy would keep the ingress controller out"
            problems.append(("ingress.controllerNamespace", f"{text}; or `networkPolicy.allowFrom`"))
        tolerance = self.fault_tolerance
        if tolerance and tolerance.deletion_timeout_seconds >= self.delete_timeout_seconds:
            text = f"{tolerance.deletion_timeout_seconds}: has to end before `deleteTimeoutSeconds`"
            problems.append(
                ("faultTolerance.deletionTimeoutSeconds", f"{text}; allowed: below {self.delete_timeout_seconds}")
            )
        return problems

    def _scaling_problems(self) -> list[tuple[str, str]]:
        problems = []
        scaling = self.autoscaling
        for name, group in self.worker_groups.items():
            key = f"workerGroups.{name}"
            if scaling.enabled and group.replicas is not None:
                problems.append(
                    (
                        f"{key}.replicas",
                        f"{group.replicas}: the autoscaler sets it; use `min`, or `autoscaling.enabled: false`",
                    )
                )
            for option in ("idle_timeout_seconds", "priority"):
                value = getattr(group, option)
                if value is not None and not (scaling.enabled and scaling.version == "v2"):
                    alias = WorkerGroup.model_fields[option].alias
                    problems.append((f"{key}.{alias}", f"{value}: only the autoscaler v2 reads it; leave it out"))
            if group.priority is not None and not at_least(self.ray_version, PRIORITY_RAY):
                problems.append((f"{key}.priority", f"{group.priority}: needs Ray {PRIORITY_RAY}"))
        if scaling.enabled and not self.worker_groups:
            problems.append(("workerGroups", "empty, nothing to scale; add a group or `autoscaling.enabled: false`"))
        return problems


def _states(spec: Object, path: str) -> bool:
    """Whether `spec` says something of the field at `path`, or removes what it is in."""
    step, _, rest = path.partition(".")
    if not rest or spec.get(step, {}) is None:
        return step in spec
    return isinstance(spec.get(step), dict) and _states(spec[step], rest)


def parts_differ(one: str, other: str) -> bool:
    return not (at_least(one, other) and at_least(other, one))
