"""Settings of monitoring: the key `monitoring` of a stack file."""

# ruff: noqa: RUF012 (pydantic copies defaults)

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, model_validator

from components.settings.access import Peers, allows_every_pod
from components.settings.fields import (
    FieldProblems,
    LabelKey,
    Labels,
    Model,
    Namespace,
    matching,
    switch,
)
from jobs.target.contract import http_url_problem


def _url(value: str) -> str:
    """The rules of the outputs contract, which holds such a URL. Ray puts a path that begins with a slash behind it."""
    if problem := http_url_problem(value):
        raise ValueError(problem)
    return value.rstrip("/")


Url = Annotated[str, AfterValidator(_url)]


class PodMonitor(Model):
    """prometheus-operator's PodMonitors: one for each RayCluster, and one for the stack's own operator."""

    labels: Labels = {}
    """Labels of the PodMonitors, where your Prometheus selects them by labels."""
    interval: Annotated[str, matching(r"([1-9]\d?|1[01]\d|120)s|[12]m", "1s to 120s", "not such a time")] = "30s"
    """Time between two scrapes. After five minutes without one Prometheus takes a series for ended."""
    namespace: Namespace | None = None
    """Namespace of the PodMonitors; it exists. Default: that of what they watch."""


class Rules(Model):
    """prometheus-operator's PrometheusRules: one for each RayCluster, and one for the stack's own operator."""

    labels: Labels = {}
    """Labels of the PrometheusRules, where your Prometheus selects them by labels."""
    namespace: Namespace | None = None
    """Namespace of the PrometheusRules; it exists. Default: that of what they watch."""


class Dashboards(Model):
    """Grafana dashboards as ConfigMaps, which the sidecar of Grafana's Helm chart loads."""

    namespace: Namespace
    """Namespace of the ConfigMaps, usually that of Grafana; it exists."""
    label: LabelKey = "grafana_dashboard"
    """Label by which the sidecar finds them; its value is `1`."""
    folder: str = "Ray"
    """Grafana folder, in the annotation `grafana_folder`."""


class Monitoring(Model):
    """Metrics, alerts and dashboards. Everything is off by default."""

    pod_monitor: Annotated[PodMonitor | None, BeforeValidator(switch)] = None
    """PodMonitors: `true`, or an object. Their CRD has to be on the cluster."""
    rules: Annotated[Rules | None, BeforeValidator(switch)] = None
    """Alerts: `true`, or an object. They need `podMonitor`, which gives the series their labels."""
    dashboards: Dashboards | None = None
    """Dashboards: those of Ray, made by the installed Ray, and one of this project."""
    scrape_annotations: bool = False
    """Annotate the pods with `prometheus.io/scrape`, for a Prometheus without prometheus-operator. Running pods are not
    changed. One port for each pod: metrics of the autoscaler and the dashboard are not scraped."""
    scrape_from: Peers = []
    """Peers, as in a NetworkPolicy, that can reach the ports of metrics. Default: every pod of the Kubernetes
    cluster."""
    prometheus_host: Url | None = None
    """Your Prometheus, for Ray's own dashboard and for the alerts in `rayjobs why`. A change reaches a head when its
    pod is created."""
    grafana_host: Url | None = None
    """Your Grafana, whose graphs Ray's own dashboard shows. The head and the browser have to reach it under this
    URL."""

    @property
    def has_objects(self) -> bool:
        """Whether the stack has objects of its own for monitoring."""
        return any((self.pod_monitor, self.rules, self.dashboards))

    @model_validator(mode="after")
    def _check(self) -> Monitoring:
        problems = FieldProblems()
        if self.pod_monitor and self.scrape_annotations:
            text = "true: together with `podMonitor` the pods would be scraped twice; remove one of them"
            problems.add("scrapeAnnotations", text)
        if self.rules and not self.pod_monitor:
            problems.add("rules", "set without `podMonitor`, which gives the series their labels; set both, or none")
        if allows_every_pod(self.scrape_from):
            problems.add("scrapeFrom", "lets every pod of the Kubernetes cluster in, as without it; name the scraper")
        problems.raise_if_any()
        return self


OFF = Monitoring()
