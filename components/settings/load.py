"""Stack configuration, typed. `load` reads it from Pulumi, `parse` from any mapping; nothing here touches a cluster."""

# ruff: noqa: RUF012 (pydantic copies defaults)

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pulumi.runtime.config import CONFIG, is_config_secret
from pydantic import model_validator

from components.errors import refuse
from components.settings import fields as model
from components.settings.access import NamespaceSettings
from components.settings.fields import Model, Namespace, Problems
from components.settings.kuberay import KubeRay
from components.settings.raycluster import Cluster

PROJECT = "ray-on-kubernetes"

ResourceKey = Annotated[str, model.of_form(r"[^:\s]+:[^:\s]+:[^:\s]+::\S+", "type::name, as a URN ends")]
Urn = Annotated[str, model.of_form(r"urn:pulumi:\S+::\S+::\S+::\S+", "a URN, as `pulumi stack --show-urns` shows it")]


class Settings(Model):
    """Everything that a stack file can say."""

    kube_context: str = ""
    """Empty: the kubeconfig's current context."""
    kubeconfig: str = ""
    """Path; empty: the usual rules (`KUBECONFIG`, then `~/.kube/config`)."""
    kuberay: KubeRay = KubeRay()
    clusters: tuple[Cluster, ...] = (Cluster(),)
    render_to: str = ""
    """Directory for manifests; set: they are written there and no cluster is touched, whatever the context."""
    protect: bool = False
    confirm_restart: bool = False
    """Lets a protected stack restart or suspend a cluster while jobs run; for one `up`, not for the stack file."""
    adopt: bool = False
    """Objects of the stack that are on the cluster already are taken over, not refused; for one `up`."""
    aliases: dict[ResourceKey, Urn] = {}
    """Resources that had another URN before: end of the new one, `type::name`, to the old one."""
    namespaces: dict[Namespace, NamespaceSettings] = {}
    """What guards the namespaces in use, by name."""

    @property
    def used_namespaces(self) -> dict[str, bool]:
        """Every namespace of the stack, and whether the stack makes it."""
        found = {cluster.namespace: cluster.create_namespace for cluster in self.clusters}
        if self.kuberay.operator == "own":
            found[self.kuberay.namespace] = self.kuberay.create_namespace
        return found

    @property
    def operator_namespaces(self) -> list[str]:
        """Namespaces of the stack that have to be there before its operator: its own, and those it watches."""
        wanted = (self.kuberay.namespace, *self.kuberay.watch_namespaces) if self.kuberay.operator == "own" else ()
        return [name for name in wanted if name in self.used_namespaces]

    def guards(self, namespace: str) -> NamespaceSettings:
        return self.namespaces.get(namespace, NamespaceSettings())

    @model_validator(mode="after")
    def _check(self) -> Settings:
        problems = []
        if self.confirm_restart and not self.protect:
            problems.append(("confirmRestart", "true, but `protect` is false: no restart is refused; leave it out"))
        names = Counter((cluster.namespace, cluster.name) for cluster in self.clusters)
        for index, cluster in enumerate(self.clusters):
            key = f"clusters[{index}]"
            if names[cluster.namespace, cluster.name] > 1:
                problems.append((f"{key}.name", f'"{cluster.name}": used twice in namespace {cluster.namespace}'))
            if self.used_namespaces[cluster.namespace] != cluster.create_namespace:
                problems.append(
                    (
                        f"{key}.createNamespace",
                        f"{str(cluster.create_namespace).lower()}: another entry says otherwise of "
                        f"{cluster.namespace}; allowed: the same in both",
                    )
                )
            watched = self.kuberay.watch_namespaces
            if watched and cluster.namespace not in watched:
                problems.append(
                    (
                        f"{key}.namespace",
                        f'"{cluster.namespace}": the operator does not watch it; allowed: {", ".join(watched)}, '
                        "or add it to `kuberay.watchNamespaces`",
                    )
                )
        Problems.check(problems + self._namespace_problems() + self._redis_problems())
        return self

    def _namespace_problems(self) -> list[tuple[str, str]]:
        problems = []
        used = self.used_namespaces
        for name, wanted in self.namespaces.items():
            key = f"namespaces.{name}"
            if name not in used:
                problems.append((key, f"no cluster and no operator of the stack is there; allowed: {', '.join(used)}"))
            elif not used[name] and wanted.namespace_labels():
                problems.append((key, "labels and podSecurity belong to whoever made it; only quota and limits here"))
        for index, cluster in enumerate(self.clusters):
            level = self.guards(cluster.namespace).pod_security
            if level == "restricted" and cluster.pod_security != "restricted":
                text = f"not set, but namespace {cluster.namespace} is restricted; allowed: restricted"
                problems.append((f"clusters[{index}].podSecurity", text))
        return problems

    def _redis_problems(self) -> list[tuple[str, str]]:
        """Two clusters in one storage namespace of one Redis would be each other's heads."""
        seen: dict[tuple[str, str], str] = {}
        problems = []
        for index, cluster in enumerate(self.clusters):
            tolerance = cluster.fault_tolerance
            if tolerance and tolerance.storage_namespace and tolerance.redis.address:
                place = (tolerance.redis.address, tolerance.storage_namespace)
                if place in seen:
                    text = f'"{place[1]}": {seen[place]} keeps its state there; allowed: another, or leave it out'
                    problems.append((f"clusters[{index}].faultTolerance.storageNamespace", text))
                seen[place] = cluster.name
        return problems


def parse(raw: Mapping[str, Any]) -> Settings:
    """Settings from a stack's keys without the project's name. Raises StackError with every problem found."""
    return model.parse(Settings, raw)


def from_stack_file(path: Path) -> Settings:
    """Settings of a `Pulumi.<stack>.yaml`, without the engine. Secure values are read as the word `secure`."""
    return from_config((yaml.safe_load(path.read_text()) or {}).get("config") or {})


def from_config(config: Mapping[str, Any]) -> Settings:
    """Settings of the `config:` block of a stack file."""
    prefix = f"{PROJECT}:"
    return parse({key.removeprefix(prefix): _plain(value) for key, value in config.items() if key.startswith(prefix)})


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return "secure" if set(value) == {"secure"} else {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def load() -> Settings:
    """Settings of the running Pulumi program; unknown keys are seen too. Raises StackError."""
    prefix = f"{PROJECT}:"
    text = "holds a secure value, which would be plain text in the state; allowed: in `env` of a cluster's pods alone"
    secure = [
        key.removeprefix(prefix) for key in sorted(CONFIG.get()) if key.startswith(prefix) and is_config_secret(key)
    ]
    refuse("The stack's configuration cannot be used:", [f"{key}: {text}" for key in secure if key != "clusters"])
    stated = {key.removeprefix(prefix): value for key, value in CONFIG.get().items() if key.startswith(prefix)}
    return parse({key: _typed(key, value) for key, value in stated.items()})


def has_secure_env() -> bool:
    """Whether some value inside `clusters` is secure: the engine says it of the whole key, not where in it."""
    return is_config_secret(f"{PROJECT}:clusters")


def _typed(key: str, value: str) -> Any:
    """The engine hands every value over as text; text settings stay as they are, the others are JSON."""
    field = next((f for f in Settings.model_fields.values() if f.alias == key), None)
    if field is None or field.annotation is str:
        return value
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        return value
