"""All settings of a stack file, and reading them from a mapping or a file. Nothing here asks Pulumi or a cluster."""

# ruff: noqa: RUF012 (pydantic copies defaults)

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import model_validator

from components.settings import fields
from components.settings.access import NamespaceSettings
from components.settings.fields import FieldProblems, Model, Namespace
from components.settings.kuberay import KubeRay
from components.settings.monitoring import Monitoring
from components.settings.raycluster import RayClusterSettings
from jobs.yaml_file import parse_as_typed, parse_yaml

PROJECT = "ray-on-kubernetes"

ResourceKey = Annotated[str, fields.matching(r"[^:\s]+:[^:\s]+:[^:\s]+::\S+", "type::name, the end of a URN")]
Urn = Annotated[
    str, fields.matching(r"urn:pulumi:\S+::\S+::\S+::\S+", "a URN, as `pulumi stack --show-urns` prints it")
]


class Settings(Model):
    """Everything that a stack file can set."""

    kube_context: str = ""
    """Context of the kubeconfig. Default: the current context."""
    kubeconfig: str = ""
    """Path of the kubeconfig. Default: `KUBECONFIG`, then `~/.kube/config`."""
    kuberay: KubeRay = KubeRay()
    """The operator and its CRDs."""
    clusters: tuple[RayClusterSettings, ...] = (RayClusterSettings(),)
    """The RayClusters; `[]`: none."""
    monitoring: Monitoring = Monitoring()
    """Metrics, alerts and dashboards."""
    render_to: str = ""
    """Directory for the manifests. With it nothing is deployed: `up` writes files and connects to no cluster."""
    protect: bool = False
    """Refuse to delete namespaces, RayClusters and what keepers have kept, and to restart a cluster while jobs run."""
    confirm_restart: bool = False
    """Let an `up` of a protected stack restart or suspend a cluster while jobs run. Set it for one `up` only."""
    adopt: bool = False
    """Take over objects that exist already, instead of refusing. Set it for one `up` only."""
    aliases: dict[ResourceKey, Urn] = {}
    """Resources that had another URN before: `type::name` (the end of the new URN) to the old URN."""
    namespaces: dict[Namespace, NamespaceSettings] = {}
    """Labels and limits of the stack's namespaces, by name."""

    @property
    def used_namespaces(self) -> dict[str, bool]:
        """Every namespace of the stack, and whether the stack creates it."""
        created = {cluster.namespace: cluster.create_namespace for cluster in self.clusters}
        if self.kuberay.operator == "own":
            created[self.kuberay.namespace] = self.kuberay.create_namespace
        return created

    @property
    def retained_namespaces(self) -> set[str]:
        """The namespaces that stay, because the volume of a keeper stays in them."""
        return {cluster.namespace for cluster in self.clusters if cluster.keeper and cluster.keeper.retain}

    def warnings(self) -> list[str]:
        """Returns settings that are allowed and look like a mistake: key and text, one a line."""
        lines = [
            f"clusters[{index}].{text}" for index, cluster in enumerate(self.clusters) for text in cluster.warnings()
        ]
        open_ones = [cluster.name for cluster in self.clusters if not cluster.network_policy.enabled]
        if self.monitoring.scrape_from and open_ones:
            text = "these clusters have no NetworkPolicies, so every pod can read their metrics"
            lines.append(f"monitoring.scrapeFrom: {', '.join(open_ones)}: {text}")
        scrapes = self.monitoring.pod_monitor or self.monitoring.scrape_annotations
        if scrapes and not self.monitoring.scrape_from:
            closed = [cluster.name for cluster in self.clusters if cluster.keeper and cluster.keeper_is_closed]
            text = "no token protects their jobs, so Prometheus cannot reach their keepers; name the scraper"
            lines += [f"monitoring.scrapeFrom: not set; {', '.join(closed)}: {text}"] if closed else []
        return lines

    @property
    def operator_namespaces(self) -> list[str]:
        """Namespaces of the stack that must exist before its operator: its own, and those that it watches."""
        if self.kuberay.operator != "own":
            return []
        names = (self.kuberay.namespace, *self.kuberay.watch_namespaces)
        return [name for name in names if name in self.used_namespaces]

    def namespace_settings(self, namespace: str) -> NamespaceSettings:
        return self.namespaces.get(namespace, NamespaceSettings())

    @model_validator(mode="after")
    def _check(self) -> Settings:
        problems = FieldProblems()
        if self.confirm_restart and not self.protect:
            problems.add("confirmRestart", "true, but `protect` is false: no restart is refused; remove it")
        self._check_clusters(problems)
        self._check_namespaces(problems)
        self._check_redis(problems)
        self._check_job_users(problems)
        if self.monitoring.scrape_from and not any(cluster.network_policy.enabled for cluster in self.clusters):
            problems.add("monitoring.scrapeFrom", "set, but no cluster has NetworkPolicies; remove it, or enable them")
        problems.raise_if_any()
        return self

    def _check_clusters(self, problems: FieldProblems) -> None:
        names = Counter((cluster.namespace, cluster.name) for cluster in self.clusters)
        watched = self.kuberay.watch_namespaces
        keepers = {(each.namespace, each.keeper_name): each.name for each in self.clusters if each.keeper}
        for index, cluster in enumerate(self.clusters):
            key = f"clusters[{index}]"
            if names[cluster.namespace, cluster.name] > 1:
                problems.add(f"{key}.name", f'"{cluster.name}": used twice in namespace {cluster.namespace}')
            if kept := keepers.get((cluster.namespace, cluster.name)):
                text = f"the keeper of {kept} has this name, and its objects are named like a cluster's"
                problems.add(f"{key}.name", f'"{cluster.name}": {text}; allowed: another name')
            if self.used_namespaces[cluster.namespace] != cluster.create_namespace:
                text = f"another entry has a different value for namespace {cluster.namespace}"
                value = str(cluster.create_namespace).lower()
                problems.add(f"{key}.createNamespace", f"{value}: {text}; allowed: the same in both")
            if watched and cluster.namespace not in watched:
                text = f'"{cluster.namespace}": the operator does not watch it; allowed: {", ".join(watched)}'
                problems.add(f"{key}.namespace", f"{text}, or add it to `kuberay.watchNamespaces`")

    def _check_namespaces(self, problems: FieldProblems) -> None:
        used = self.used_namespaces
        for name, settings in self.namespaces.items():
            key = f"namespaces.{name}"
            if name not in used:
                problems.add(key, f"the stack has no cluster and no operator in it; allowed: {', '.join(used)}")
            elif not used[name] and settings.namespace_labels():
                text = "the stack does not create this namespace, so it cannot set labels or podSecurity"
                problems.add(key, f"{text}; allowed: quota, limits")
        for index, cluster in enumerate(self.clusters):
            level = self.namespace_settings(cluster.namespace).pod_security
            if level == "restricted" and cluster.pod_security != "restricted":
                text = f"not set, but namespace {cluster.namespace} is restricted; allowed: restricted"
                problems.add(f"clusters[{index}].podSecurity", text)

    def _check_redis(self, problems: FieldProblems) -> None:
        """Refuses two clusters in one storage namespace of one Redis: they would load each other's state."""
        users: dict[tuple[str, str], str] = {}
        for index, cluster in enumerate(self.clusters):
            tolerance = cluster.fault_tolerance
            if tolerance and tolerance.storage_namespace and tolerance.redis.address:
                place = (tolerance.redis.address.removeprefix("redis://"), tolerance.storage_namespace)
                if place in users:
                    text = f'"{place[1]}": cluster {users[place]} keeps its state there; allowed: another, or none'
                    problems.add(f"clusters[{index}].faultTolerance.storageNamespace", text)
                users[place] = cluster.name

    def _check_job_users(self, problems: FieldProblems) -> None:
        """Refuses job users who would reach the pods of another cluster in the same namespace, unless `allow` permits
        it."""
        for index, cluster in enumerate(self.clusters):
            others = [other for other in self.clusters if other is not cluster and other.namespace == cluster.namespace]
            users = sorted(
                {user.shown for other in others for user in other.job_users if user not in cluster.job_users}
            )
            if users and "shared-namespace" not in cluster.allow:
                text = f"{', '.join(users)}: a job user of another cluster in namespace {cluster.namespace} reaches"
                allowed = "the same job users in both, a namespace for each cluster, or `allow: [shared-namespace]`"
                problems.add(f"clusters[{index}].jobUsers", f"{text} this cluster's pods too; allowed: {allowed}")


def parse(raw: Mapping[str, Any], typed: Mapping[str, Any] | None = None) -> Settings:
    """Reads settings from a mapping of a stack's keys, without the prefix `ray-on-kubernetes:`.

    Args:
        raw: the mapping.
        typed: the same keys as they were typed, where they come from a file (`as_typed`).

    Raises:
        StackError: `raw` cannot be used; the message lists all problems, one a line.
    """
    return fields.parse(Settings, raw, typed)


def from_config(config: Mapping[str, Any]) -> Settings:
    """Reads settings from the `config:` block of a stack file. A secure value is read as the word `secure`.

    Raises:
        StackError: `config` cannot be used; the message lists all problems, one a line.
    """
    return parse(_plain(own_keys(config)))


def from_stack_file(path: Path) -> Settings:
    """Reads settings from a file `Pulumi.<stack>.yaml`, without Pulumi. A secure value is read as the word `secure`.

    Raises:
        StackError: the file cannot be used; the message lists all problems, one a line.
        NotYaml: the file is not YAML.
    """
    text = path.read_text()
    return parse(_plain(own_keys(_config(parse_yaml(text)))), typed_keys(text))


def typed_keys(stack_file: str) -> dict[str, Any]:
    """Returns the settings in the text of a stack file as they were typed, without their prefix. Raises NotYaml."""
    return own_keys(_config(parse_as_typed(stack_file)))


def own_keys(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the keys of this project, without their prefix."""
    prefix = f"{PROJECT}:"
    return {key.removeprefix(prefix): value for key, value in config.items() if str(key).startswith(prefix)}


def _config(stack_file: Any) -> Mapping[str, Any]:
    config = stack_file.get("config") if isinstance(stack_file, Mapping) else None
    return config if isinstance(config, Mapping) else {}


def _plain(value: Any) -> Any:
    """Returns a value with the word `secure` for each secure value in it."""
    if isinstance(value, dict):
        return "secure" if set(value) == {"secure"} else {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
