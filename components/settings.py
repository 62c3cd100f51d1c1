"""Stack configuration, typed. `load` reads it from Pulumi, `parse` from any mapping; nothing here touches a cluster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pulumi.runtime.config import CONFIG
from pydantic import model_validator

from components import model
from components.model import Model, Problems
from components.settings_cluster import Cluster
from components.settings_kuberay import KubeRay

PROJECT = "ray-on-kubernetes"


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

    @property
    def namespaces(self) -> dict[str, bool]:
        """Every namespace of the stack, and whether the stack makes it."""
        found = {cluster.namespace: cluster.create_namespace for cluster in self.clusters}
        if self.kuberay.operator == "own":
            found[self.kuberay.namespace] = self.kuberay.create_namespace
        return found

    @model_validator(mode="after")
    def _check(self) -> Settings:
        problems = []
        names = Counter((cluster.namespace, cluster.name) for cluster in self.clusters)
        for index, cluster in enumerate(self.clusters):
            key = f"clusters[{index}]"
            if names[cluster.namespace, cluster.name] > 1:
                problems.append((f"{key}.name", f'"{cluster.name}": used twice in namespace {cluster.namespace}'))
            if self.namespaces[cluster.namespace] != cluster.create_namespace:
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
        Problems.check(problems)
        return self


def parse(raw: Mapping[str, Any]) -> Settings:
    """Settings from a stack's keys without the project's name. Raises StackError with every problem found."""
    return model.parse(Settings, raw)


def from_stack_file(path: Path) -> Settings:
    """Settings of a `Pulumi.<stack>.yaml`, without the engine. Secure values are read as the word `secure`."""
    config = (yaml.safe_load(path.read_text()) or {}).get("config") or {}
    prefix = f"{PROJECT}:"
    return parse({key.removeprefix(prefix): _plain(value) for key, value in config.items() if key.startswith(prefix)})


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return "secure" if set(value) == {"secure"} else {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def load() -> Settings:
    """Settings of the running Pulumi program; unknown keys are seen too. Raises StackError."""
    prefix = f"{PROJECT}:"
    stated = {key.removeprefix(prefix): value for key, value in CONFIG.get().items() if key.startswith(prefix)}
    return parse({key: _typed(key, value) for key, value in stated.items()})


def _typed(key: str, value: str) -> Any:
    """The engine hands every value over as text; text settings stay as they are, the others are JSON."""
    field = next((f for f in Settings.model_fields.values() if f.alias == key), None)
    if field is None or field.annotation is str:
        return value
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        return value
