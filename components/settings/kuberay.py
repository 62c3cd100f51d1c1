"""Settings of the operator and its CRDs: the stack key `kuberay`."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from components.settings.fields import Cpu, Image, Memory, Model, Namespace, Problems, namespace_problem
from components.settings.fields import version as version_like
from components.settings.versions import (
    CONDITIONS,
    DEFAULT_KUBERAY_VERSION,
    KUBERAY_PATTERN,
    SPLIT_CONFIG,
    at_least,
    is_moving,
)

UPSTREAM = "upstream"


class OperatorResources(Model):
    """Requests and limits alike; unset: what the version's own manifest says."""

    cpu: Cpu | None = None
    memory: Memory | None = None


class KubeRay(Model):
    """`kuberay` of a stack file."""

    version: Annotated[str, version_like(KUBERAY_PATTERN, "v1.7.0")] = DEFAULT_KUBERAY_VERSION
    namespace: Namespace = "ray-system"
    create_namespace: bool = True
    source: Annotated[str, Field(min_length=1)] = UPSTREAM
    """`upstream`: the pinned tag; else a directory that holds that version's tree."""
    image: Image | None = None
    image_registry: Annotated[str, Field(min_length=1)] | None = None
    """Registry (and path) that stands in for the upstream one, for sites without access to it."""
    args: tuple[str, ...] = ()
    resources: OperatorResources = OperatorResources()
    apiserver: bool = False
    """The KubeRay API server with its NodePorts, which versions before v1.1 bundle."""
    operator: Literal["own", "existing"] = "own"
    stated_crds: Literal["own", "adopt", "existing"] | None = Field(default=None, alias="crds")
    retain_crds: bool = False
    watch_namespaces: tuple[Namespace, ...] = ()
    """Only these namespaces, with a Role in each instead of a ClusterRole; empty: the whole Kubernetes cluster."""

    @property
    def crds(self) -> Literal["own", "adopt", "existing"]:
        """Who has an operator of somebody else's uses its CRDs, unless told otherwise."""
        return self.stated_crds or ("own" if self.operator == "own" else "existing")

    @property
    def owns_namespace(self) -> bool:
        return self.operator == "own" and self.create_namespace

    @property
    def feature_gates(self) -> frozenset[str]:
        """Gates switched on by `args`."""
        gates = [arg.split("=", 1)[1] for arg in self.args if arg.startswith("--feature-gates=")]
        return frozenset(found for text in gates for found in re.findall(r"(\w+)=true", text))

    @model_validator(mode="after")
    def _check(self) -> KubeRay:
        problems = []
        if self.apiserver and at_least(self.version, SPLIT_CONFIG):
            problems.append(
                (
                    "apiserver",
                    f"true: KubeRay {self.version} has none; allowed: false, or a version before v1.1",
                )
            )
        if self.image and self.image_registry:
            problems.append(("imageRegistry", "set together with `image`; allowed: one of them"))
        if self.image and is_moving(self.image):
            problems.append(("image", f'"{self.image}": its tag moves; allowed: a version or digest'))
        for index, arg in enumerate(self.args):
            if not arg.startswith("--"):
                problems.append((f"args[{index}]", f'"{arg}": not a flag; allowed: such as --reconcile-concurrency=2'))
            if arg.startswith("--watch-namespace"):
                problems.append((f"args[{index}]", "set `watchNamespaces` instead: it makes the Roles as well"))
            if arg == "--config" or arg.startswith("--config="):
                problems.append((f"args[{index}]", "the operator then reads no other flag; allowed: leave it out"))
        off = "RayClusterStatusConditions=false"
        if any(off in arg for arg in self.args) and at_least(self.version, CONDITIONS):
            problems.append(("args", f"{off}: readiness is read from these conditions; allowed: leave the gate on"))
        twice = sorted({name for name in self.watch_namespaces if self.watch_namespaces.count(name) > 1})
        problems += [("watchNamespaces", f'"{name}": there twice; allowed: once') for name in twice]
        if self.owns_namespace and (text := namespace_problem(self.namespace)):
            problems.append(("createNamespace", text))
        if self.retain_crds and self.crds == "existing":
            problems.append(("retainCrds", "true: `existing` CRDs are not ours; leave it out, or `crds: own`"))
        if self.operator == "existing":
            unused = {
                "image": self.image,
                "imageRegistry": self.image_registry,
                "args": self.args,
                "apiserver": self.apiserver,
                "watchNamespaces": self.watch_namespaces,
                "resources": self.resources.cpu or self.resources.memory,
            }
            problems += [
                (
                    key,
                    "set, but an `existing` operator is not ours; leave it out, or `operator: own`",
                )
                for key, value in unused.items()
                if value
            ]
        Problems.check(problems)
        return self
